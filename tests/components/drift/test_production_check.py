import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.drift.config import DriftConfig
from components.drift.production_check import check_drift
from components.shared.data.drift_profile import Profile, make_profile, write_profile
from components.shared.data.image_features import FEATURES
from components.shared.services import mlflow_runs
from components.shared.services.records import read_record, write_record
from components.shared.services.store import Store
from tests.mlflow_store import new_mlflow_store

NAME = "crack-classifier"
MOVED = dict.fromkeys(("brightness", "contrast", "sharpness", "noise"), 3.0)


def profile(photo: str, images: int, seed: int, **moved: float) -> Profile:
    """Return the profile of photos with five images each. `moved` shifts features by some standard deviations."""
    rng = np.random.default_rng(seed)
    codes = np.arange(images) // 5
    levels = rng.normal(size=(images, len(FEATURES))) + rng.normal(size=(codes.max() + 1, len(FEATURES)))[codes]
    features = pd.DataFrame(levels, columns=list(FEATURES)) + pd.Series(moved).reindex(FEATURES).fillna(0)
    groups = np.array([f"{photo}{code}" for code in codes])
    slices = pd.DataFrame({"surface": np.array(["deck", "wall"])[codes % 2]})
    return make_profile(groups, features, rng.random(images), rng.normal(size=(images, 4)), slices, "a" * 64)


@pytest.fixture
def check(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    """Return a function that compares a profile with a reference of 120 images.

    The function returns the result, the summary and the page.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    mlflow_runs.client().create_registered_model(NAME)
    mlflow_runs.client().create_model_version(NAME, "file:///nowhere")
    write_profile(profile("t", 120, 1), tmp_path / "reference")

    def run(observed: Profile, job: str = "job-1", version: str = "1") -> tuple[str, dict, str]:
        write_profile(observed, tmp_path / "observed")
        config = DriftConfig(store=store.uri, permutations=499, evidently=False)
        out = {name: str(tmp_path / name) for name in ("page", "evidently", "summary")}
        paths = (str(tmp_path / "reference"), str(tmp_path / "observed"))
        verdict = check_drift(*paths, f"s3://incoming/{job}", version, config, 1, job, out)
        return verdict, json.loads((tmp_path / "summary").read_text()), (tmp_path / "page").read_text()

    return run


def tags() -> dict[str, str]:
    return mlflow_runs.client().get_model_version(NAME, "1").tags


def test_similar_images_are_steady_and_the_version_is_tagged(check, store):
    verdict, summary, page = check(profile("p", 100, 4))
    assert verdict == summary["verdict"] == "steady"
    assert summary["count"] == 100
    assert summary["drifted"] == []
    assert set(summary["effects"]) == {*FEATURES, "p_crack", "confidence", "features_together", "embedding"}
    assert "The champion can stay in use" in page
    assert "Photos farthest from the training sample" in page
    assert "group_pattern" not in page
    assert tags()["crack.drift"] == "steady"
    assert tags()["crack.drift.images"] == "s3://incoming/job-1"
    assert read_record(store, "runs/job-1/drift.json", dict, "") == summary


def test_one_moved_feature_is_drift_and_many_moved_features_need_a_retraining(check):
    verdict, summary, page = check(profile("p", 100, 4, brightness=-3.0))
    assert verdict == "drift"
    assert {"features_together", "brightness"} <= set(summary["drifted"])
    assert re.search(r"Means changed.*brightness -\d\.\d\d", page)
    assert "The images changed, but not enough for a retraining" in page
    verdict, summary, page = check(profile("p", 100, 4, **MOVED))
    assert verdict == "retrain"
    assert {"features_together", *MOVED} <= set(summary["drifted"])
    reason = f"{len(summary['drifted'])} of 13 tests found drift: {', '.join(summary['drifted'])}"
    assert summary["reason"].startswith(reason)
    assert "Label some of these images and train again" in page
    assert tags()["crack.drift"] == "retrain"
    assert tags()["crack.drift.reason"] == summary["reason"]


@pytest.mark.parametrize(
    ("images", "why"),
    [(25, "the number of current images is 25, but it must be at least 30"), (120, "number of current photos is 1,")],
)
def test_too_few_images_or_photos_are_skipped_with_the_reason(check, images, why):
    observed = profile("p", images, 4)
    if images > 30:
        observed = replace(observed, groups=np.full(images, "one"))
    verdict, summary, page = check(observed)
    assert (verdict, summary["effects"]) == ("skipped", {})
    assert why in summary["reason"]
    assert "Skipped" in page
    assert "<img" not in page
    assert "crack.drift" not in tags()
    check(profile("p", 100, 4, brightness=-3.0))
    check(observed)
    assert tags()["crack.drift"] == "drift"  # a skipped check does not change the tags


def test_the_page_says_that_every_image_was_counted_as_a_photo(check, caplog):
    observed = profile("p", 100, 4)
    _, summary, page = check(replace(observed, groups=np.arange(100).astype(str)))
    callout = page.split('class="callout')[1].split("</div>")[0]
    assert "set or correct collect.group_pattern" in callout
    assert summary["reason"].endswith("; every image was counted as a separate photo")
    assert "the check finds drift too easily" in caplog.text  # for people who do not open the page


def test_a_day_without_images_is_skipped_and_is_part_of_the_trend(check):
    check(profile("p", 100, 4), "friday")
    verdict, summary, page = check(profile("p", 5, 4).rows(np.arange(0)), "sunday")
    assert (verdict, summary["count"]) == ("skipped", 0)
    assert summary["reason"] == "there is no image under s3://incoming/sunday"
    trend = page.split('id="trend"')[1]
    assert trend.index("s3://incoming/sunday") < trend.index("skipped") < trend.index("s3://incoming/friday")


def test_drift_on_one_surface_is_reported_even_without_drift_in_all_images(check):
    observed = profile("p", 200, 4)
    check(observed, "monday")
    observed.features.loc[observed.slices["surface"] == "wall", "brightness"] -= 4.0
    _, summary, page = check(observed, "tuesday")
    assert summary["slices"]["surface=deck"] == []
    assert "brightness" in summary["slices"]["surface=wall"]
    assert summary["reason"].endswith("; slices with new drift: surface=wall")
    assert "new drift" not in check(observed, "wednesday")[1]["reason"]  # the check on Tuesday reported it already
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page.split("In how many checks each slice was compared")[1])
    assert cells[:3] == ["surface=deck", "2", "0"]
    assert cells[5:8] == ["surface=wall", "2", "1"]


def test_a_drift_lasts_from_the_first_retrain_check_to_the_next_steady_check(check, store):
    moved, less, like = profile("p", 100, 4, **MOVED), profile("p", 100, 4, brightness=-3.0), profile("p", 100, 4)
    days = [moved, moved, profile("p", 20, 4), less, moved, like, moved, moved]
    since = []
    for day, observed in enumerate(days):
        _, summary, page = check(observed, f"day {day}")
        key = f"drift-checks/{NAME}/day {day}.json"
        on_day = json.dumps(summary).replace(summary["checked"], f"2026-01-{day + 1:02d}T05:00:00+00:00")
        write_record(store, key, json.loads(on_day))  # as if the check had run on another day
        since.append(json.loads(on_day)["since"][8:10])
    assert since == ["01", "01", "", "01", "01", "", "07", "07"]
    assert "; a retraining has been needed since 2026-01-07" in summary["reason"]
    assert "A retraining has been needed since 2026-01-07 05:00 UTC" in page
    mlflow_runs.client().create_model_version(NAME, "file:///nowhere")
    assert (
        check(moved, "day 9", version="2")[1]["since"]
        == json.loads(store.get_bytes("runs/day 9/drift.json"))["checked"]
    )


def test_the_trend_shows_each_earlier_check_once(check):
    check(profile("p", 100, 4), "monday")
    check(profile("p", 20, 4), "tuesday")
    check(profile("p", 100, 5, noise=3.0), "wednesday")
    _, _, page = check(profile("p", 100, 5, noise=3.0), "wednesday")  # the step was repeated
    assert "the last 3 checks of this model (at most 30)" in page
    trend = page.split('id="trend"')[1]
    assert trend.count("<img") == 1
    assert "at most 5% of all checks still find drift by chance. For 2 checks, this is about 0.1." in trend
    assert [trend.count(f"s3://incoming/{day}") for day in ("monday", "tuesday", "wednesday")] == [1, 1, 1]
