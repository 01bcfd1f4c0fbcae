"""Test which wrong answers get an image."""

from pathlib import Path

import pandas as pd

from components.gate.wrong_answers import with_images
from components.shared.data.image import decode
from components.shared.data.manifest import Manifest
from components.shared.services.store import Store
from tests.tiny_version import commit_tiny_version


def answers_about(manifest: Manifest, p_crack: dict[str, float]) -> pd.DataFrame:
    """Return answers at the threshold 0.5. Tiles whose path is not in `p_crack` get a right and certain answer."""
    rows = manifest.table[["sample_id", "group_id", "source", "surface", "label", "path"]]
    answered = rows["path"].map(p_crack).fillna(rows["label"])
    answers = rows.drop(columns="path").assign(p_crack=answered, crack=answered >= 0.5)
    return answers.iloc[::-1].reset_index(drop=True)  # the order of predictions differs from the order of the manifest


def test_missed_cracks_and_false_alarms_get_images(store: Store, tmp_path: Path) -> None:
    manifest, *_ = commit_tiny_version(store, tmp_path)
    wrong = {"1.png": 0.2, "2.png": 0.7}
    answers = with_images(answers_about(manifest, wrong), manifest.table, store, shown=5)
    assert len(answers) == len(manifest.table)
    shown = answers[answers["image"].notna()].set_index("path")
    assert shown["label"].to_dict() == {"1.png": 1, "2.png": 0}
    assert decode(shown.at["1.png", "image"]).shape == (48, 48, 3)  # not enlarged
    dark_crack, bright_alarm = (decode(shown.at[path, "image"]).mean() for path in ("1.png", "2.png"))
    assert dark_crack < 100 < bright_alarm


def test_each_group_shows_its_most_certain_wrong_answer_first(store: Store, tmp_path: Path) -> None:
    manifest, *_ = commit_tiny_version(
        store, tmp_path
    )  # four consecutive tiles form a group, and tiles with an odd number show cracks
    missed = {"1.png": 0.01, "3.png": 0.02, "5.png": 0.4, "9.png": 0.3}
    answers = with_images(answers_about(manifest, missed), manifest.table, store, shown=3)
    assert set(answers.loc[answers["image"].notna(), "path"]) == {"1.png", "5.png", "9.png"}


def test_a_table_without_wrong_answers_can_be_written_and_read(store: Store, tmp_path: Path) -> None:
    manifest, *_ = commit_tiny_version(store, tmp_path)
    answers = with_images(answers_about(manifest, {}), manifest.table, store, shown=3)
    answers.to_parquet(tmp_path / "answers.parquet", index=False)
    assert pd.read_parquet(tmp_path / "answers.parquet")["image"].isna().all()
