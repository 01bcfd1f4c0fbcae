"""The list of people's answers: nothing is lost, nothing is deleted, and disagreements are found."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from components.shared.data.corrections import (
    Answer,
    Entry,
    add_entry,
    find_import,
    now,
    read_entries,
    standing_answers,
)
from components.shared.errors import InputError
from components.shared.services.store import DamagedObjectError, Store


def entry(by: str, second: int, **answers: str) -> Entry:
    given = [Answer(tile, "no_crack", answer) for tile, answer in answers.items()]
    return Entry(by, f"2026-11-30T12:00:{second:02}.000000+00:00", "", given)


def agreed(*entries: Entry) -> dict[str, str]:
    table = standing_answers(list(entries)).agreed
    return dict(zip(table["tile"], table["answer"], strict=True))


def test_a_persons_last_answer_counts() -> None:
    assert agreed(entry("Ada", 1, a="crack", b="crack"), entry("Ada", 2, a="bad image")) == {
        "a": "bad image",
        "b": "crack",
    }


def test_people_who_agree_are_all_named() -> None:
    table = standing_answers([entry("Ben", 1, a="crack"), entry("Ada", 2, a="crack")]).agreed
    assert table[["by", "at"]].values.tolist() == [["Ada, Ben", "2026-11-30T12:00:02.000000+00:00"]]


def test_people_who_disagree_are_listed_and_neither_counts() -> None:
    standing = standing_answers([entry("Ben", 1, a="crack", b="crack"), entry("Ada", 2, a="no_crack")])
    assert standing.agreed["tile"].tolist() == ["b"]
    assert standing.disputed[["tile", "by", "answer"]].values.tolist() == [
        ["a", "Ben", "crack"],
        ["a", "Ada", "no_crack"],
    ]
    settled = [entry("Ben", 1, a="crack"), entry("Ada", 2, a="no_crack"), entry("Ada", 3, a="crack")]
    assert agreed(*settled) == {"a": "crack"}


def test_a_rollback_makes_one_import_void_and_brings_the_answer_before_it_back() -> None:
    first, second = entry("Ada", 1, a="crack"), entry("Ada", 2, a="bad image", b="crack")
    rollback = Entry("Ben", now(), "the wrong file", rolls_back=second.id)
    assert agreed(first, second, rollback) == {"a": "crack"}
    assert standing_answers([first, second, rollback]).digest != standing_answers([first]).digest


def test_entries_are_found_by_the_start_of_their_id() -> None:
    first, second = entry("Ada", 1, a="crack"), entry("Ada", 2, a="bad image")
    assert find_import([first, second], second.id[:12]) == second
    with pytest.raises(InputError, match='0 imports have an ID that begins with "zz"'):
        find_import([first, second], "zz")
    with pytest.raises(InputError, match='0 imports have an ID that begins with ""'):
        find_import([first], "")
    rollback = Entry("Ben", now(), "x", rolls_back=first.id)
    with pytest.raises(InputError, match="is rolled back already, by Ben"):
        find_import([first, rollback], first.id[:12])
    with pytest.raises(InputError, match="0 imports"):
        find_import([first, rollback], rollback.id)


def test_imports_at_the_same_time_lose_nothing(store: Store) -> None:
    entries = [replace(entry("Ada", 1), answers=[Answer(f"{number}", "crack", "no_crack")]) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: add_entry(store, one), entries))
    assert len(standing_answers(read_entries(store)).agreed) == 20
    assert read_entries(store) == sorted(entries, key=lambda one: one.id)


def test_a_changed_entry_is_refused(store: Store) -> None:
    add_entry(store, entry("Ada", 1, a="crack"))
    [(key, _)] = store.list("corrections/")
    content = json.loads(store.get_bytes(key))
    content["answers"][0]["new"] = "no_crack"
    store.put_bytes(key, json.dumps(content).encode())
    with pytest.raises(DamagedObjectError, match=r"corrections/.*is damaged.*restore it from a backup"):
        read_entries(store)
