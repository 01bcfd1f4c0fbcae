"""The queue: which tiles people see first, and what its folder holds."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from components.shared.data.corrections import Answer, Entry, add_entry, standing_answers
from components.shared.data.image import decode
from components.shared.errors import InputError
from pipelines.review.cross_validation import PENALTY, cross_validated
from pipelines.review.queue import make_queue, read_queue
from pipelines.review.ranking import DISAGREE, DISPUTED, DOUBTED, NEAR, Answers, rank
from pipelines.review.run_artifacts import latest_run, read_run

NOBODY = standing_answers([])


def answers(labels: list[int], p_crack: list[list[float]], photos: list[str] | None = None) -> Answers:
    tiles = pd.DataFrame(
        {
            "sample_id": [f"{number:064x}" for number in range(len(labels))],
            "group_id": photos or [f"photo {number}" for number in range(len(labels))],
            "split": "test",
            "label": labels,
        }
    )
    return Answers(tiles, np.array(p_crack), np.full((len(labels), len(p_crack[0])), 0.5))


def test_a_label_is_doubted_as_in_the_paper() -> None:
    # The thresholds are the mean self-confidences: 0.6 for no_crack, and 0.7 for crack.
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    p_crack = [0.05, 0.10, 0.65, 0.80, 0.95, 0.90, 0.90, 0.05]
    chosen = rank(answers(labels, [[p] for p in p_crack]), NOBODY, size=8)
    doubted = chosen[chosen["reason"].str.contains(DOUBTED)]
    assert doubted["row"].tolist() == [7, 3]


def test_the_reasons_take_turns_and_each_has_its_order() -> None:
    labels = [0, 0, 0, 1, 1, 1]
    p_crack = [[0.01, 0.01], [0.97, 0.99], [0.1, 0.9], [0.55, 0.52], [0.9, 0.2], [0.99, 0.99]]
    chosen = rank(answers(labels, p_crack), NOBODY, size=4)
    assert chosen["row"].tolist() == [1, 2, 3, 4]
    assert chosen["reason"].tolist()[:3] == [DOUBTED, DISAGREE, NEAR]


def test_no_photo_fills_the_queue() -> None:
    near, far = [[0.5]] * 10, [[0.01]] * 10
    photos = ["one"] * 10 + [f"other {number}" for number in range(10)]
    found = answers([0] * 10 + [0, 1] * 5, near + far, photos)
    chosen = rank(found, NOBODY, size=8, per_photo=3)
    assert (chosen["row"] < 10).sum() == 3
    assert len(chosen) == 8
    assert (rank(found, NOBODY, size=8)["row"] < 10).sum() == 2


def test_answered_tiles_are_left_out_and_disputed_ones_come_first() -> None:
    found = answers([0, 1, 0, 1], [[0.1], [0.9], [0.2], [0.8]])
    ids = found.tiles["sample_id"].tolist()
    entries = [
        Entry("Ada", "1", "", [Answer(ids[0], "no_crack", "no_crack"), Answer(ids[3], "crack", "crack")]),
        Entry("Ben", "2", "", [Answer(ids[3], "crack", "no_crack")]),
    ]
    chosen = rank(found, standing_answers(entries), size=10)
    assert chosen["row"].tolist()[0] == 3
    assert chosen["reason"].tolist()[0] == DISPUTED
    assert sorted(chosen["row"]) == [1, 2, 3]


def test_cross_validation_minimises_the_mean_log_loss_with_the_penalty() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    embeddings = rng.normal(0, 1, (200, 6)) + labels[:, None]
    fold = np.arange(200) // 40
    found = cross_validated(embeddings, labels, pd.Series([f"photo {number}" for number in fold]))

    for asked in (fold == number for number in range(5)):
        mean, deviation = embeddings[~asked].mean(0), embeddings[~asked].std(0)
        known = (embeddings[~asked] - mean) / deviation
        sign = 2 * labels[~asked] - 1

        def loss(weights: np.ndarray, known: np.ndarray = known, sign: np.ndarray = sign) -> float:
            margin = sign * (known @ weights[1:] + weights[0])
            return np.logaddexp(0, -margin).mean() + PENALTY / 2 * weights[1:] @ weights[1:]

        weights = minimize(loss, np.zeros(7)).x
        expected = expit((embeddings[asked] - mean) / deviation @ weights[1:] + weights[0])
        np.testing.assert_allclose(found[asked], expected, atol=1e-3)


def test_cross_validation_sees_no_tile_of_the_same_photo() -> None:
    # Every photo has a feature of its own, and one label. A network that saw the photo knows the answer.
    labels = np.arange(12) % 2
    photos = pd.Series([f"photo {number}" for number in range(12)])
    p_crack = cross_validated(np.eye(12), labels, photos)
    assert ((p_crack >= 0.5) == (labels == 1)).mean() < 0.7
    assert np.isnan(cross_validated(np.eye(2), np.array([0, 1]), pd.Series(["a", "b"]))).all()


def test_the_folder_has_the_tiles_and_what_is_known_about_them(run, wrong_tiles, tmp_path) -> None:
    table = make_queue(run.store, read_run(run.artifacts.parent), tmp_path / "queue", size=40)
    queue = read_queue(tmp_path / "queue")
    assert list(queue.columns) == [
        "rank", "tile", "file", "label", "reason", "split", "photo", "path", "p_crack_cnn", "p_crack_vit",
    ]  # fmt: skip
    assert queue["rank"].tolist() == [str(number) for number in range(1, 41)]
    assert set(queue["path"]) <= set(run.manifest.table["path"])
    assert wrong_tiles <= set(table["tile"])
    assert {"train", "test", "val"} <= set(table["split"])

    for row in queue.to_dict("records"):
        original = (run.source / row["path"]).read_bytes()
        assert hashlib.sha256(original).hexdigest() == row["tile"]
        assert row["path"].startswith(f"{row['label']}/")
        shown = cv2.imread(str(tmp_path / "queue" / row["file"]))[..., ::-1]
        assert (shown == decode(original)).all()
    assert sorted(path.name for path in tmp_path.iterdir() if "queue" in path.name) == ["queue"]


def test_a_queue_does_not_replace_a_folder(run, tmp_path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="queue exists already and is not an empty folder; give a new folder"):
        make_queue(run.store, read_run(run.artifacts), tmp_path / "queue", size=4)


def test_a_folder_without_a_run_is_refused(run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must have the artifacts of one run, but has those of 0 runs"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no report.html, so no run has ended here"):
        latest_run(tmp_path)
    (run.artifacts / "gate" / "dossier").rename(tmp_path / "lost")
    with pytest.raises(InputError, match="dossier does not exist, so the candidate's threshold is unknown"):
        read_run(run.artifacts)


def test_nothing_is_left_to_review(run, tmp_path) -> None:
    given = [Answer(tile, "crack", "crack") for tile in run.truth]
    add_entry(run.store, Entry("Ada", "2026", "", given))
    with pytest.raises(InputError, match="people have answered all 96 tiles of this run"):
        make_queue(run.store, read_run(run.artifacts), tmp_path / "queue", size=4)
