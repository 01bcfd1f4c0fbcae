from pathlib import Path

import pytest

from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError


def write_more_than_fits(path: Path) -> None:
    with atomic_file(path) as file:
        file.write_text("half")
        Path("/dev/full").write_text("more")


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("old")
    with pytest.raises(InputError, match=r"results\.csv cannot be written: No space left on device; free space"):
        write_more_than_fits(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_error_is_passed_on_and_leaves_no_file(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.csv"):
        Path(tmp_path / "missing").read_text()
    assert list(tmp_path.iterdir()) == []
