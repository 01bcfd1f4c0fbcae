"""An inspection is divided into shares, one for each pod. Together, the shares give what the command gives."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.inspect import share as share_module
from components.inspect.config import InspectConfig
from components.inspect.join import join_shares
from components.inspect.plan import plan_inspection, read_plan
from components.inspect.run import inspect_photos, prepare_folder, write_results
from components.inspect.share import inspect_share
from components.inspect.tile_answers import read_model
from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from tests.inspection_model import dark_tile_model
from tests.mlflow_store import new_mlflow_store

NAME = "crack-classifier"


def photo(seed: int, cracked: bool = True) -> bytes:
    """A PNG of 120 x 90 px: noise, and one dark line 30 px wide."""
    noise = np.random.default_rng(seed).normal(180, 8, (90, 120, 3))
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    if cracked:
        cv2.line(pixels, (10, 20), (110, 70), (50, 50, 50), 30)
    return cv2.imencode(".png", pixels)[1].tobytes()


PHOTOS = {
    "bridge/crack ü+1.png": photo(1),
    "bridge/clean.png": photo(2, cracked=False),
    "copy.png": photo(1),
    "damaged.jpg": b"not an image",
    "last.png": photo(3),
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory) -> Path:
    """The folder of a model version, as MLflow stores it."""
    folder = tmp_path_factory.mktemp("registered")
    dark_tile_model(folder / "artifacts")
    return folder


@pytest.fixture
def champion(registered, tmp_path, monkeypatch) -> Path:
    """Version 1 is the champion. Yields the folder of its artifacts."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    client = mlflow_runs.client()
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, registered.as_uri())
    client.set_registered_model_alias(NAME, "champion", "1")
    return registered / "artifacts"


def upload(uri: str, photos: dict[str, bytes]) -> None:
    for name, data in photos.items():
        Store(uri).put_bytes(name, data)


def plan(s3: str, tmp_path: Path, config: InspectConfig, uri: str = "") -> str:
    path = tmp_path / "plan.json"
    plan_inspection(uri or f"{s3}/incoming/2026-01-31", config, str(path))
    return str(path)


def run(planned: str, config: InspectConfig, tmp_path: Path) -> dict:
    for number in range(1, config.shares + 1):
        inspect_share(planned, number, config)
    join_shares(planned, config, str(tmp_path / "page.html"), str(tmp_path / "summary.json"))
    return json.loads((tmp_path / "summary.json").read_text())


def photos_table(s3: str, planned: str) -> dict[str, dict[str, str]]:
    text = Store(s3).get_bytes(f"{read_plan(planned).results}/photos.csv").decode()
    return {row["photo"]: row for row in csv.DictReader(io.StringIO(text))}


def test_the_shares_together_give_what_the_command_gives(s3, champion, tmp_path, monkeypatch):
    upload(f"{s3}/incoming/2026-01-31", {**PHOTOS, "bridge/masks/clean.png": photo(4), "notes.txt": b"sunny"})
    config = InspectConfig(store=s3, shares=2)
    planned = plan(s3, tmp_path, config)
    summary = run(planned, config, tmp_path)
    assert (summary["photos"], summary["inspected"], summary["failed"], summary["version"]) == (5, 3, 1, "1")

    folder, out = tmp_path / "photos", tmp_path / "out"
    for name, data in PHOTOS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    monkeypatch.chdir(folder)
    prepare_folder(out)
    model = read_model(NAME, "1", champion)
    expected = inspect_photos([Path(name) for name in sorted(PHOTOS)], model, config, out, lambda _: None)
    write_results(expected, model, config, out)

    store, results = Store(s3), read_plan(planned).results
    for name in ("photos.csv", "findings.csv", "findings.geojson"):
        assert store.get_bytes(f"{results}/{name}") == (out / name).read_bytes(), name
    written = {key.removeprefix(f"{results}/") for key, _ in store.list(f"{results}/")}
    files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    # The copy may be in another share than the first file, so both are inspected.
    assert files <= written
    assert "inspection.html" in files
    assert (tmp_path / "page.html").read_bytes() == store.get_bytes(f"{results}/inspection.html")
    row = photos_table(s3, planned)["damaged.jpg"]
    assert "image" in row["error"]
    assert "/tmp" not in row["error"]


def test_a_share_that_was_killed_continues_with_the_photos_that_have_no_record(s3, champion, tmp_path, monkeypatch):
    upload(f"{s3}/incoming/2026-01-31", {f"{number}.png": photo(number) for number in range(3)})
    config = InspectConfig(store=s3, shares=1)
    planned = plan(s3, tmp_path, config)
    inspected: list[str] = []
    real = inspect_photos

    def killed_at_the_third(paths, *arguments):
        if len(inspected) == 2:
            raise KeyboardInterrupt
        inspected.append(paths[0].name)
        return real(paths, *arguments)

    monkeypatch.setattr(share_module, "inspect_photos", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        inspect_share(planned, 1, config)
    with pytest.raises(InputError, match=r"2\.png has no result"):
        join_shares(planned, config, str(tmp_path / "page.html"), str(tmp_path / "summary.json"))

    again: list[str] = []
    monkeypatch.setattr(share_module, "inspect_photos", lambda p, *a: again.append(p[0].name) or real(p, *a))
    assert run(planned, config, tmp_path)["inspected"] == 3
    assert (inspected, again) == (["0.png", "1.png"], ["2.png"])

    # A second run with another number of shares repeats nothing.
    monkeypatch.setattr(share_module, "inspect_photos", None)
    more = config.model_copy(update={"shares": 2})
    assert run(plan(s3, tmp_path, more), more, tmp_path)["inspected"] == 3


def test_a_damaged_photo_is_tried_again_after_it_was_replaced_and_more_shares_than_photos_do_no_harm(
    s3, champion, tmp_path
):
    uri = f"{s3}/incoming/2026-01-31"
    upload(uri, {"a.png": b"cut off"})
    config = InspectConfig(store=s3, shares=3)
    assert run(plan(s3, tmp_path, config), config, tmp_path)["failed"] == 1

    upload(uri, {"a.png": photo(1)})
    summary = run(plan(s3, tmp_path, config), config, tmp_path)
    assert (summary["failed"], summary["inspected"]) == (0, 1)


def test_a_photo_that_vanishes_after_the_plan_is_a_row_with_its_reason(s3, champion, tmp_path):
    upload(f"{s3}/incoming/2026-01-31", {"a.png": photo(1), "b.png": photo(2)})
    config = InspectConfig(store=s3, shares=1)
    planned = plan(s3, tmp_path, config)
    Store(f"{s3}/incoming/2026-01-31").delete(["a.png"])
    assert run(planned, config, tmp_path)["failed"] == 1
    assert "a.png" in photos_table(s3, planned)["a.png"]["error"]


def test_a_damaged_result_in_the_store_is_named(s3, champion, tmp_path):
    upload(f"{s3}/incoming/2026-01-31", {"a.png": photo(1)})
    config = InspectConfig(store=s3, shares=1)
    planned = plan(s3, tmp_path, config)
    inspect_share(planned, 1, config)
    results = read_plan(planned).results
    (overlay,) = [key for key, _ in Store(s3).list(f"{results}/overlays/") if "finding" not in key]
    Store(s3).put_bytes(overlay, b"changed")
    with pytest.raises(InputError, match=r"the result of a\.png is damaged"):
        join_shares(planned, config, str(tmp_path / "page.html"), str(tmp_path / "summary.json"))


def test_another_version_other_settings_or_other_photos_have_another_place(s3, champion, tmp_path):
    for day in ("2026-01-31", "2026-02-01"):
        upload(f"{s3}/incoming/{day}", {"a.png": b"x"})
    config = InspectConfig(store=s3)
    place = read_plan(plan(s3, tmp_path, config)).results
    same = read_plan(plan(s3, tmp_path, config.model_copy(update={"shares": 7, "batch_size": 2}))).results
    scaled = read_plan(plan(s3, tmp_path, config.model_copy(update={"scale": 0.5}))).results
    other_day = read_plan(plan(s3, tmp_path, config, f"{s3}/incoming/2026-02-01")).results
    mlflow_runs.client().set_registered_model_alias(NAME, "champion", "2")
    other_version = read_plan(plan(s3, tmp_path, config)).results
    assert same == place
    assert len({place, scaled, other_day, other_version}) == 4


def test_results_of_inspections_are_not_inspected(s3, champion, tmp_path):
    upload(s3, {"a.png": b"x", "inspections/b/c-1/overlays/a.jpg": b"x"})
    config = InspectConfig(store=s3)
    assert [one.key for one in read_plan(plan(s3, tmp_path, config, s3)).photos] == ["a.png"]


def test_a_day_without_photos_gives_an_empty_page(s3, champion, tmp_path):
    upload(f"{s3}/incoming/2020-01-31", {"a.png": b"x"})
    config = InspectConfig(store=s3, shares=2)
    summary = run(plan(s3, tmp_path, config, f"{s3}/incoming/{{yesterday}}"), config, tmp_path)
    assert (summary["photos"], summary["failed"]) == (0, 0)
    assert "0 photos inspected" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("{s3}/nothing", r"there is no photo under s3://.*/nothing or its .* a photo must end in one of \.jpg"),
        ("{s3}/nothing/{{date}}", "there is no photo under s3://.*/nothing/20"),
        ("photos/", "photos is 'photos/'; write it as s3://BUCKET/PREFIX"),
    ],
)
def test_a_prefix_without_photos_is_named(s3, champion, tmp_path, uri, message):
    with pytest.raises(InputError, match=message):
        plan(s3, tmp_path, InspectConfig(store=s3), uri.format(s3=s3))


def test_without_a_champion_nothing_is_listed(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    with pytest.raises(InputError, match="crack-classifier has no champion, which an inspection needs"):
        plan(s3, tmp_path, InspectConfig(store=s3))


def test_the_plan_loads_nothing_that_only_the_large_container_image_has():
    code = "import sys, components.inspect.plan; print([n for n in ('torch', 'skimage', 'kfp') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
