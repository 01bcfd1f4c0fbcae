import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.drift.checking import check_drift
from components.drift.config import DriftConfig
from components.shared import tracking
from components.shared.image_features import FEATURES
from components.shared.profile import Profile, make_profile, write_profile
from components.shared.storage import Store

NAME = "crack-classifier"


def profile(photo: str, images: int, seed: int, **moved: float) -> Profile:
    """Photos of five images; `moved` shifts features by so many standard deviations."""
    rng = np.random.default_rng(seed)
    codes = np.arange(images) // 5
    levels = rng.normal(size=(images, len(FEATURES))) + rng.normal(size=(codes.max() + 1, len(FEATURES)))[codes]
    features = pd.DataFrame(levels, columns=list(FEATURES)) + pd.Series(moved).reindex(FEATURES).fillna(0)
    groups = np.array([f"{photo}{code}" for code in codes])
    return make_profile(groups, features, rng.random(images), rng.normal(size=(images, 4)), "a" * 64)


@pytest.fixture
def check(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    """Check a profile against one of 120 images; returns the verdict, its summary and the page."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tracking.client().create_registered_model(NAME)
    tracking.client().create_model_version(NAME, "file:///nowhere")
    write_profile(profile("t", 120, 1), tmp_path / "reference")

    def run(observed: Profile, job: str = "job-1") -> tuple[str, dict, str]:
        write_profile(observed, tmp_path / "observed")
        config = DriftConfig(store=store.uri, permutations=499, evidently=False)
        out = {name: str(tmp_path / name) for name in ("page", "evidently", "summary")}
        paths = (str(tmp_path / "reference"), str(tmp_path / "observed"))
        verdict = check_drift(*paths, f"s3://incoming/{job}", "1", config, 1, job, out)
        return verdict, json.loads((tmp_path / "summary").read_text()), (tmp_path / "page").read_text()

    return run


def tags() -> dict[str, str]:
    return tracking.client().get_model_version(NAME, "1").tags


def test_like_images_are_steady_and_the_registry_says_so(check, store):
    verdict, summary, page = check(profile("p", 100, 2))
    assert verdict == summary["verdict"] == "steady"
    assert summary["count"] == 100
    assert summary["drifted"] == []
    assert set(summary["effects"]) == {*FEATURES, "p_crack", "confidence", "features_together", "embedding"}
    assert "The champion may go on" in page
    assert "Photos farthest from the training sample" in page
    assert "group_pattern" not in page
    assert tags()["crack.drift"] == "steady"
    assert tags()["crack.drift.images"] == "s3://incoming/job-1"
    assert json.loads(store.get_bytes("runs/job-1/drift.json")) == summary


def test_one_feature_that_moves_is_drift_and_many_ask_for_retraining(check):
    verdict, summary, page = check(profile("p", 100, 2, brightness=-3.0))
    assert verdict == "drift"
    assert {"features_together", "brightness"} <= set(summary["drifted"])
    assert re.search(r"Means moved.*brightness -\d\.\d\d", page)
    assert "less than asks for a retraining" in page
    moved = dict.fromkeys(("brightness", "contrast", "sharpness", "noise"), 3.0)
    verdict, summary, page = check(profile("p", 100, 2, **moved))
    assert verdict == "retrain"
    assert {"features_together", *moved} <= set(summary["drifted"])
    assert summary["reason"] == f"{len(summary['drifted'])} of 13 tests drifted: {', '.join(summary['drifted'])}"
    assert "Label some of these images and retrain" in page
    assert tags()["crack.drift"] == "retrain"
    assert tags()["crack.drift.reason"] == summary["reason"]


@pytest.mark.parametrize(
    ("images", "why"), [(25, "the current side has 25 images, and 30 are needed"), (120, "has 1 groups")]
)
def test_too_few_images_or_photos_are_skipped_with_the_reason(check, images, why):
    observed = profile("p", images, 2)
    if images > 30:
        observed = Profile(np.full(images, "one"), observed.features, observed.embeddings, observed.model)
    verdict, summary, page = check(observed)
    assert (verdict, summary["effects"]) == ("skipped", {})
    assert why in summary["reason"]
    assert "Skipped" in page
    assert "<img" not in page
    assert "crack.drift" not in tags()
    check(profile("p", 100, 2, brightness=-3.0))
    check(observed)
    assert tags()["crack.drift"] == "drift"  # not hidden by a day of few images


def test_images_without_photos_are_pointed_out(check, caplog):
    observed = profile("p", 100, 2)
    alone = Profile(np.arange(100).astype(str), observed.features, observed.embeddings, observed.model)
    assert "name the photos by collect.group_pattern" in check(alone)[2]
    assert "finds drift too easily" in caplog.text  # for those who do not open the page


def test_the_trend_shows_earlier_checks_once_each(check):
    check(profile("p", 100, 2), "monday")
    check(profile("p", 20, 2), "tuesday")
    check(profile("p", 100, 3, noise=3.0), "wednesday")
    _, _, page = check(profile("p", 100, 3, noise=3.0), "wednesday")  # the step was repeated
    assert "at most the last 30: 3." in page
    trend = page.split('id="trend"')[1]
    assert trend.count("<img") == 1
    assert "1 of 2 checks found drift; chance alone finds it in 5% of checks, here about 0.1." in trend
    assert [trend.count(f"s3://incoming/{day}") for day in ("monday", "tuesday", "wednesday")] == [1, 1, 1]
