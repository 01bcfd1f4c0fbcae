from pathlib import Path

from components.shared.results.measurements import Measurement, Measurements, read_measurements, write_measurements
from components.shared.results.slices import WHOLE, Slice

WALL = Slice.of(surface="wall")
ROWS = [
    Measurement("auroc", 0.9, low=0.8, high=0.95, n=40),
    Measurement("auroc", 0.7, condition="before"),
    Measurement("auroc", 0.8, slice=WALL, note="few walls"),
    Measurement("recall", 0.6, split="val"),
]


def test_numbers_survive_their_file_in_order(tmp_path: Path) -> None:
    write_measurements(ROWS, tmp_path / "measurements.parquet")
    assert list(read_measurements(tmp_path / "measurements.parquet")) == ROWS


def test_a_number_is_found_by_name_split_slice_and_condition() -> None:
    found = Measurements(ROWS)
    assert found.find("auroc") is ROWS[0]
    assert found.find("auroc", condition="before") is ROWS[1]
    assert found.find("auroc", slice=WALL) is ROWS[2]
    assert found.find("recall") is None
    assert found.find("recall", "val") is ROWS[3]


def test_numbers_are_selected_by_what_is_given() -> None:
    found = Measurements(ROWS)
    assert found.where() == ROWS
    assert found.where(name="auroc") == ROWS[:3]
    assert found.where(slice=WHOLE, condition="after") == [ROWS[0], ROWS[3]]
    assert found.where(split="robustness") == []
