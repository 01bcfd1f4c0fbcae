import numpy as np
import pandas as pd
import pytest

from pipelines.sites.plan import TILES_PER_PHOTO, Limits, make_plan
from pipelines.sites.run import labelled_tiles
from pipelines.sites.site_threshold import SiteThreshold, fit_and_measure, half_of_photos
from pipelines.sites.verdict import UNKNOWN, decide

PHOTOS, TILES = 40, 50
CRACK = np.tile(np.arange(TILES) % 4 == 0, PHOTOS).astype(int)
LIMITS = Limits()


def site(p_of_cracks=0.95, p_of_others=0.05, wrong=0.0, seed=0):
    """Return the tiles of a site. With `wrong` = 0.1, one tile in ten gets the P(crack) of the other class."""
    rng = np.random.default_rng(seed)
    p_crack = np.where(CRACK ^ (rng.random(len(CRACK)) < wrong), p_of_cracks, p_of_others)
    p_crack = np.clip(p_crack + rng.normal(0, 0.01, len(CRACK)), 0.001, 0.999)
    photos = [f"photo{number // TILES}" for number in range(len(CRACK))]
    paths = [f"{number}.png" for number in range(len(CRACK))]
    columns = {"path": paths, "digest": paths, "photo": photos, "p_crack": p_crack, "called": p_crack >= 0.5}
    return pd.DataFrame(columns)


def label_while_asked(plan, labels=CRACK, limits=LIMITS):
    """Label what each verdict asks for, until one decides or nothing is left."""
    known = np.full(len(labels), UNKNOWN)
    verdict = decide(plan, known, limits)
    while verdict.decision == "label more" and verdict.more:
        asked = list(dict.fromkeys(tile for tile in plan.draws["tile"] if known[tile] == UNKNOWN))[: verdict.more]
        known[asked] = labels[asked]
        verdict = decide(plan, known, limits)
    return verdict, known


@pytest.mark.parametrize("claim", ["images", "photos"])
def test_the_weights_of_a_plan_give_every_tile_the_same_expected_weight(claim):
    plan = make_plan(site(wrong=0.1), claim, LIMITS, seed=1)
    weight = plan.tiles["weight"].to_numpy()
    if claim == "images":
        chance = 1 / (len(weight) * weight)
        assert chance.sum() == pytest.approx(1)
        return
    chance_in_photo = 1 / (TILES * TILES_PER_PHOTO * weight)
    assert np.bincount(np.arange(len(weight)) // TILES, chance_in_photo) == pytest.approx(np.ones(PHOTOS))
    assert plan.draws.groupby("bet")["tile"].apply(lambda tiles: (tiles // TILES).nunique()).eq(1).all()


def test_a_good_model_is_accepted_with_few_labels_and_a_bad_one_refused():
    good, known = label_while_asked(make_plan(site(wrong=0.01), "images", LIMITS, seed=1))
    assert good.decision == "accept"
    assert good.labelled <= (known != UNKNOWN).sum() < 500
    low, high = good.recall.interval
    assert LIMITS.recall <= low < good.recall.value <= high

    bad, _ = label_while_asked(make_plan(site(wrong=0.3), "images", LIMITS, seed=1))
    assert bad.decision == "refuse"
    assert "recall is below its limit" in bad.why


def test_forty_photos_do_not_decide_about_photos_not_taken_yet():
    verdict, _ = label_while_asked(make_plan(site(wrong=0.01), "photos", LIMITS, seed=1))
    assert (verdict.decision, verdict.more, verdict.bets) == ("label more", 0, PHOTOS)
    assert "Add images of this site" in verdict.why


def test_a_tile_that_nobody_labels_stops_the_count_there():
    plan = make_plan(site(wrong=0.01), "images", LIMITS, seed=1)
    known = CRACK.copy()
    skipped = plan.draws["tile"].iloc[30]
    known[skipped] = UNKNOWN
    verdict = decide(plan, known, LIMITS)
    first = int(np.flatnonzero(plan.draws["tile"] == skipped)[0])
    assert (verdict.decision, verdict.bets, verdict.more) == ("label more", first, 1)


def test_no_crack_at_the_site_leaves_recall_open():
    plan = make_plan(site(wrong=0.01), "images", LIMITS, seed=1)
    nothing = np.zeros(len(CRACK), int)
    some = np.where(np.arange(len(CRACK)) % 2, nothing, UNKNOWN)
    some[plan.draws["tile"][:100]] = 0
    undecided = decide(plan, some, Limits(false_alarms=0.5))
    assert "No labelled tile has a crack, so nothing is known about recall." in undecided.why
    assert np.isnan(undecided.recall.value)

    whole = decide(plan, nothing, LIMITS)
    assert (whole.decision, whole.more) == ("label more", 0)
    assert "All tiles have a label, and no tile has a crack" in whole.why


def test_labels_for_every_tile_decide_exactly():
    tiles = site(wrong=0.05)
    recall = tiles["called"][CRACK == 1].mean()
    plan = make_plan(tiles, "images", LIMITS, seed=1)
    assert decide(plan, CRACK, Limits(recall - 1e-6)).decision == "accept"
    assert decide(plan, CRACK, Limits(recall + 1e-6)).decision == "refuse"


def test_a_site_threshold_is_chosen_on_some_photos_and_measured_on_others():
    plan = make_plan(site(p_of_cracks=0.3, p_of_others=0.05), "images", LIMITS, seed=1)
    verdict = decide(plan, CRACK, LIMITS)
    labelled = labelled_tiles(plan, CRACK, verdict)
    found = fit_and_measure(labelled, recall=0.9)
    assert isinstance(found, SiteThreshold)
    own, at_site = found.rows["recall"]
    assert own.value == 0
    assert (at_site.value, at_site.high) == (1, 1)
    assert 0.5 < at_site.low < 1
    assert 0.05 < found.threshold < 0.3
    assert found.fitted + found.measured == len(labelled)

    # Labels of the second half do not move what is chosen on the first half.
    half = fit_and_measure(
        labelled.assign(label=np.where(_measured_on(labelled), 1 - labelled["label"], labelled["label"])), 0.9
    )
    assert (half.slope, half.threshold) == (found.slope, found.threshold)
    assert half.rows["recall"][1].value < 1

    assert "needs at least 10 labelled tiles of each class" in fit_and_measure(labelled.head(12), recall=0.9)


def _measured_on(labelled):
    return labelled["photo"].map(half_of_photos(labelled["photo"])) == 1
