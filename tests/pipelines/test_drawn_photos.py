"""`crack-pipeline datasets --draw-photos`: photos of a camera with their masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from typer.testing import CliRunner

from pipelines.cli.main import app


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["datasets", *arguments])


def test_a_drawn_photo_has_a_mask_and_the_facts_of_a_camera(tmp_path: Path):
    result = invoke("--draw-photos", "1", str(tmp_path / "photos"))
    assert result.exit_code == 0, result.output
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert files == ["photos/masks/photo_001.png", "photos/photo_001.jpg"]

    with Image.open(tmp_path / "photos/masks/photo_001.png") as mask:
        assert mask.size == (3000, 2000)
        assert 0.0001 < np.asarray(mask).mean() < 0.05
    with Image.open(tmp_path / "photos/photo_001.jpg") as photo:
        assert photo.size == (3000, 2000)
        exif = photo.getexif()
    assert exif[ExifTags.Base.Model] == "drawn"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:05:04 09:30:00"

    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    degrees, minutes, seconds = gps[ExifTags.GPS.GPSLatitude]
    assert float(degrees + minutes / 60 + seconds / 3600) == pytest.approx(54.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--draw-photos", "0", "new"], "--draw-photos 0 new: the number of photos must be from 1 to 999"),
        (["--draw-photos", "1", "full"], "--draw-photos 1 full: the folder is not empty"),
        (["--draw-photos", "1", "full/file"], "--draw-photos 1 full/file: this is a file"),
        (["--draw-photos", "1", "new", "--seed", "-1"], "--seed -1 is negative"),
        (["--draw-photos", "1", "new", "--check", "full"], "--check and --draw-photos exclude each other"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_drawn(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/file").touch()

    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not Path("new").exists()
