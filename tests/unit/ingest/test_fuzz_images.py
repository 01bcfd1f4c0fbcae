"""Damaged files of every kind through a whole ingestion; `make fuzz` does this with thousands."""

from components.shared.storage import Store
from tests.bench.fuzz_images import fuzz


def test_damaged_files_are_refused_with_a_reason_or_are_the_pictures_that_they_were(store: Store) -> None:
    results = fuzz(100, seed=3, store=store)
    assert results.total() == 100
    ends = {result for _, _, result in results}
    assert {"refused", "unharmed"} <= ends
