"""Whole inspections with a tiny network that calls dark tiles cracks."""

import csv
import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

from components.inspect.config import InspectConfig
from components.inspect.photo_reader import open_photo
from components.inspect.record import InspectedPhoto
from components.inspect.run import inspect_photos, prepare_folder, write_results
from components.inspect.summary import notices, summary
from components.inspect.tile_answers import Model
from components.inspect.tile_grid import cut_tiles, make_grid
from components.shared.errors import InputError
from components.shared.results.calibration import ReviewBand
from tests.components.inspect.test_georeference import geotiff
from tests.geojson_rules import check_geojson
from tests.inspection_model import dark_tile_model

SIDE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    return dark_tile_model(tmp_path_factory.mktemp("model"), SIDE)


def concrete(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return np.clip(180 + noise, 0, 255).astype(np.uint8)


def cracked(width: int = 300, height: int = 200) -> np.ndarray:
    """Concrete with one dark line, 30 px wide, from (40, 40) to (250, 150)."""
    return cv2.line(concrete(width, height), (40, 40), (250, 150), (50, 50, 50), 30)


def inspect(paths: list[Path], model: Model, out: Path, **settings: object) -> list[InspectedPhoto]:
    config = InspectConfig(**settings)
    prepare_folder(out)
    inspected = inspect_photos(paths, model, config, out, lambda _: None)
    write_results(inspected, model, config, out)
    return inspected


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_each_photo_is_a_row_and_a_crack_is_a_finding(model, tmp_path):
    names = ("crack ü+1.jpg", "again.jpg", "clean.png", "small.png", "strip.png", "bad.jpg", "cut.jpg")
    files = dict(zip(names, (tmp_path / name for name in names), strict=True))
    Image.fromarray(cracked()).save(files["crack ü+1.jpg"], quality=95)
    files["again.jpg"].write_bytes(files["crack ü+1.jpg"].read_bytes())
    Image.fromarray(concrete(200, 150)).save(files["clean.png"])
    Image.fromarray(concrete(20, 20)).save(files["small.png"])
    Image.fromarray(concrete(1, 30_000)).save(files["strip.png"])
    files["bad.jpg"].write_text("not an image")
    files["cut.jpg"].write_bytes(files["crack ü+1.jpg"].read_bytes()[:5000])
    missing = tmp_path / "missing.jpg"

    out = tmp_path / "out"
    inspected = inspect([*files.values(), missing], model, out)
    photos = {Path(row["photo"]).name: row for row in rows(out / "photos.csv")}
    assert list(photos) == [*names, "missing.jpg"]
    assert {name: row["triage"] for name, row in photos.items() if row["triage"]} == {
        "crack ü+1.jpg": "crack",
        "clean.png": "no_crack",
    }
    assert photos["again.jpg"]["same_as"] == str(files["crack ü+1.jpg"])
    errors = {name: row["error"] for name, row in photos.items() if row["error"]}
    assert set(errors) == {"small.png", "strip.png", "bad.jpg", "cut.jpg", "missing.jpg"}
    assert "too small: 1x30000 pixels" in errors["strip.png"]
    assert errors["bad.jpg"] == "not an image"

    (finding,) = rows(out / "findings.csv")
    assert (finding["triage"], finding["model"], finding["version"]) == ("crack", "crack-classifier", "1")
    assert float(finding["length_px"]) == pytest.approx(np.hypot(210, 110) + 30, rel=0.2)
    assert finding["length_mm"] == ""
    for name in (finding["close_up"], photos["crack ü+1.jpg"]["overlay"]):
        assert Image.open(out / name).format == "JPEG"

    (feature,) = json.loads((out / "findings.geojson").read_text())["features"]
    assert feature["geometry"] is None
    assert "2 photos inspected by crack-classifier version 1: 1 crack in 1 photo; 5 photos could" in summary(inspected)
    said = " ".join(notices(inspected, model))
    assert "the scale of 2 of 2 photos is unknown, so their lengths are in pixels" in said
    assert "2 of 2 photos have no GPS position" in said
    assert "registered without a review band" in said
    page = (out / "inspection.html").read_text()
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert page.count("data:image/jpeg;base64,") == 3
    assert not list(out.rglob(".*"))


def test_every_tile_has_the_answer_that_the_network_gives_it_alone(model, tmp_path):
    Image.fromarray(cracked(100, 70)).save(tmp_path / "a.png")
    inspect([tmp_path / "a.png"], model, tmp_path / "out")
    (file,) = (tmp_path / "out" / "tiles").glob("a-*.csv")
    table = pd.read_csv(file)
    with open_photo(tmp_path / "a.png") as photo:
        tiles = list(cut_tiles(photo, make_grid(100, 70, SIDE, 0.5)))
    assert len(table) == len(tiles)
    for row, tile in zip(table.itertuples(), tiles, strict=True):
        with torch.inference_mode():
            logits = model.network(torch.from_numpy(tile.pixels.copy()).permute(2, 0, 1)[None]).numpy()
        (alone,) = model.calibration.p_crack(logits[:, 0], logits[:, 1])
        assert row.p_crack == pytest.approx(alone, abs=1e-4)
        assert row.triage == ("crack" if alone >= 0.4 else "no_crack")


def test_a_second_call_redoes_only_what_changed(model, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(concrete(80, 60, number)).save(path)
    out = tmp_path / "out"
    inspect(paths, model, out)
    times = {path.name: path.stat().st_mtime_ns for path in (out / "photos").iterdir()}
    assert len(times) == 3

    Image.fromarray(concrete(90, 60)).save(paths[2])
    assert [photo.error for photo in inspect(paths, model, out)] == [""] * 3
    again = {path.name: path.stat().st_mtime_ns for path in (out / "photos").iterdir()}
    assert len(again) == 4
    assert times.items() <= again.items()
    assert len(rows(out / "photos.csv")) == 3

    (out / "overlays").joinpath(rows(out / "photos.csv")[0]["overlay"].removeprefix("overlays/")).unlink()
    inspect(paths[:1], model, out, scale=0.5)
    assert rows(out / "photos.csv")[0]["mm_per_px"] == "0.5"


def test_an_inspection_that_was_killed_continues_with_the_next_photo(model, tmp_path):
    for number in range(5):
        Image.fromarray(concrete(80, 60, number)).save(tmp_path / f"{number}.png")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from components.inspect.config import InspectConfig\n"
        "from components.inspect.run import inspect_photos, prepare_folder\n"
        "from components.inspect.tile_answers import read_model\n"
        "folder, model = map(Path, sys.argv[1:])\n"
        "prepare_folder(folder / 'out')\n"
        "def kill(path):\n"
        "    if path.endswith('2.png'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "loaded = read_model('crack-classifier', '1', model)\n"
        "inspect_photos(sorted(folder.glob('*.png')), loaded, InspectConfig(), folder / 'out', kill)\n"
    )
    saved = tmp_path / "model"
    same_model = dark_tile_model(saved, SIDE)
    done = subprocess.run([sys.executable, "-c", script, tmp_path, saved], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    out = tmp_path / "out"
    times = {path.name: path.stat().st_mtime_ns for path in (out / "photos").iterdir()}
    assert len(times) == 3
    assert not (out / "photos.csv").exists()

    inspected = inspect(sorted(tmp_path.glob("*.png")), same_model, out)
    again = {path.name: path.stat().st_mtime_ns for path in (out / "photos").iterdir()}
    assert times.items() <= again.items()
    assert len(again) == len(inspected) == 5


def test_a_georeferenced_raster_has_positions_of_its_findings_and_its_border_is_not_a_tile(model, tmp_path):
    pixels = cracked(400, 300)
    pixels[:, 320:] = 0  # the border of an orthomosaic
    file = tmp_path / "mosaic.tif"
    tags = [
        (33550, "d", 3, (0.002, 0.002, 0.0)),
        (33922, "d", 6, (0.0, 0.0, 0.0, 448251.8, 5411932.7, 0.0)),
        (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32631)),
    ]
    tifffile.imwrite(file, pixels, photometric="rgb", tile=(64, 64), compression="zlib", extratags=tags)
    other = geotiff(tmp_path / "lv95.tif", (3072, 0, 1, 2056), 0.01, (2_600_000.0, 1_200_000.0))
    out = tmp_path / "out"
    inspect([file, other], model, out)

    mosaic, swiss = rows(out / "photos.csv")
    assert (mosaic["mm_per_px"], mosaic["scale_from"]) == ("2.0", "georeference")
    assert int(mosaic["tiles_no_data"]) >= 0.2 * int(mosaic["tiles"])
    assert "EPSG:2056 is not supported" in swiss["note"]
    finding = next(row for row in rows(out / "findings.csv") if row["photo"] == str(file))
    assert finding["position_of"] == "finding"
    assert float(finding["length_mm"]) == pytest.approx(2 * float(finding["length_px"]), abs=1)
    assert float(finding["right_px"]) < 320

    features = check_geojson((out / "findings.geojson").read_text())["features"]
    geometry = features[0]["geometry"]
    assert geometry["type"] == "Polygon"
    ring = np.array(geometry["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    x, y = (ring[:-1] - ring[0]).T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # counter-clockwise (RFC 7946, 3.1.6)
    assert ring.mean(axis=0) == pytest.approx([2.2945, 48.8582], abs=1e-4)


def test_a_result_that_cannot_be_written_stops_the_inspection(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file; give a folder for the results"):
        prepare_folder(tmp_path / "file")
    Image.fromarray(concrete(80, 60)).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "overlays").write_text("")  # a folder cannot be created here
    with pytest.raises(InputError, match="cannot be written"):
        prepare_folder(tmp_path / "out")


def test_a_disk_that_fills_leaves_no_half_photo_and_a_later_call_goes_on(model, tmp_path):
    Image.fromarray(cracked()).save(tmp_path / "a.png")
    out = tmp_path / "out"
    prepare_folder(out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # no file can be larger, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            inspect_photos([tmp_path / "a.png"], model, InspectConfig(), out, lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [file for file in out.rglob("*") if file.is_file()]

    (photo,) = inspect([tmp_path / "a.png"], model, out)
    assert photo.record is not None
    assert not photo.is_reused


def test_other_settings_leave_no_close_ups_of_the_settings_before(model, tmp_path):
    Image.fromarray(cracked()).save(tmp_path / "a.png")
    out = tmp_path / "out"
    inspect([tmp_path / "a.png"], model, out)
    assert len(list((out / "overlays").glob("a-*_finding_*.jpg"))) == 1
    (photo,) = inspect([tmp_path / "a.png"], model, out, close_ups=0)
    assert not photo.is_reused
    assert not list((out / "overlays").glob("a-*_finding_*.jpg"))


def test_a_photo_that_shows_nothing_is_not_called_free_of_cracks(model, tmp_path):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "black.png")
    out = tmp_path / "out"
    inspect([tmp_path / "black.png"], model, out)
    (row,) = rows(out / "photos.csv")
    assert (row["triage"], row["p_crack_max"], row["findings"]) == ("no_data", "", "0")


def test_without_a_certified_band_a_photo_without_a_crack_needs_review(tmp_path):
    model = dark_tile_model(tmp_path / "model", SIDE)
    band = ReviewBand(low=0.0, high=0.4, missed=0.02, confidence=0.95, photos=9, photos_needed=171, counted=0)
    model = replace(model, calibration=replace(model.calibration, band=band))
    Image.fromarray(concrete(80, 60)).save(tmp_path / "a.png")
    inspected = inspect([tmp_path / "a.png"], model, tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "photos.csv")
    assert (row["triage"], row["findings"]) == ("needs_review", "0")
    assert row["tiles_needs_review"] == row["tiles"]
    assert "validated on too few photos for a certified review band" in " ".join(notices(inspected, model))


def test_photos_of_more_than_8_bits_are_counted(model, tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), concrete(100, 80).astype(np.uint16) * 16)
    cv2.imwrite(str(tmp_path / "plain.png"), concrete(100, 80))
    paths = [tmp_path / "deep.png", tmp_path / "plain.png"]
    for _ in range(2):  # the second call reads the records of the first one
        found = notices(inspect(paths, model, tmp_path / "out"), model)
        assert any("photos in files of more than 8 bits per channel: 1 (1 with 12 used bits)" in one for one in found)


def test_a_photo_whose_tiles_are_mostly_cracks_is_a_warning(model, tmp_path):
    Image.fromarray(concrete(80, 60) // 4).save(tmp_path / "dark.png")
    inspected = inspect([tmp_path / "dark.png"], model, tmp_path / "out")
    said = " ".join(notices(inspected, model))
    assert "in 1 of 1 photos, the model sees a crack in more than half of the tiles" in said


def test_a_model_that_does_not_know_its_tiles_says_so_and_uses_its_input_size(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.network, "info", model.network.info.model_copy(update={"tile_pixels": None}))
    Image.fromarray(concrete(80, 60)).save(tmp_path / "a.png")
    inspected = inspect([tmp_path / "a.png"], model, tmp_path / "out")
    [row] = rows(tmp_path / "out" / "photos.csv")
    assert row["tile_px"] == str(SIDE)
    assert f"cut into tiles of its input size, {SIDE} px" in " ".join(notices(inspected, model))
