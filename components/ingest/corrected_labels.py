"""Apply the answers that people gave about tiles. A person's answer replaces the label in the source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from components.ingest.label_conflicts import QUARANTINE_COLUMNS, contradicted_by_mask, quarantine
from components.ingest.sources.open_sources import Source
from components.ingest.text_lookup import look_up
from components.shared.data.corrections import (
    BAD_IMAGE,
    SHOWN_ID,
    Standing,
    read_entries,
    separate_unsigned,
    standing_answers,
)
from components.shared.data.image import UPRIGHT
from components.shared.data.manifest import CLASSES
from components.shared.events import warn
from components.shared.services.store import Store

WITHOUT_MASK = {"mask": None, "mask_id": None, "mask_suffix": "", "mask_turn": UPRIGHT, "marked": 0.0}
PERSON = ["by", "at", "why", "entry"]


@dataclass(frozen=True)
class Corrected:
    """The files of an ingestion after people's answers were applied.

    Attributes:
        images: The accepted images with people's labels, without the images in `quarantined`.
        quarantined: Table (source, path, reason): the images that people called bad, and the images whose new label
            contradicts the option `all` of their source.
        changed: The files that an answer changed: the columns sample_id, source, path, was, answer, by, at, why and
            entry. `was` is the label in the source. The latest change is first.
        confirmed: Number of files whose label people confirmed.
        disputed: The files about which people disagree: the columns sample_id, source, path, label and answers. No
            answer is applied to them. `answers` is a text such as "crack (Ada), no_crack (Ben)".
        masks_dropped: Number of masks that are not used, because they contradict a label that a person gave.
    """

    images: pd.DataFrame
    quarantined: pd.DataFrame
    changed: pd.DataFrame
    confirmed: int
    disputed: pd.DataFrame
    masks_dropped: int


def read_standing(store: Store, keys: Mapping[str, str]) -> Standing:
    """Read people's answers. If keys are given, ignore the answers that are not signed, and warn about each of them.

    Args:
        store: Storage root.
        keys: Name of a person -> Ed25519 public key. If it is empty, all answers count.
    """
    entries, unsigned = separate_unsigned(read_entries(store), keys)
    for entry in unsigned:
        warn(
            f"correction {entry.id[:SHOWN_ID]} of {entry.by} is not applied, because it is not signed with a key of "
            f"ingest.correction_keys; sign with `crack-pipeline review import --key`, or add {entry.by}'s public key"
        )
    return standing_answers(entries)


def apply_corrections(images: pd.DataFrame, standing: Standing, sources: Iterable[Source]) -> Corrected:
    """Give tiles the labels that people chose, and put the images that people called bad into quarantine.

    Only the label changes. So a tile keeps its group, and the group keeps its split.

    Args:
        images: All accepted images: columns sample_id, source, path, label, the columns of `WITHOUT_MASK`, and any
            others.
        standing: The answers that count.
        sources: The sources. A source with the option `all` has only one class. If people give a tile of such a
            source the other label, the tile is put into quarantine.
    """
    found = look_up(images["sample_id"], standing.agreed, "tile")
    was = images["label"].map(dict(enumerate(CLASSES)))
    answered = found["answer"].notna()
    differs = answered & (found["answer"] != was)

    changed = images[["sample_id", "source", "path"]].assign(was=was, answer=found["answer"])
    changed = changed.join(found[PERSON])[differs].sort_values(["at", "path"], ascending=[False, True])
    is_bad = answered & (found["answer"] == BAD_IMAGE)
    leaves = is_bad | (differs & _is_of_one_class(images, sources))

    relabelled = differs & ~leaves
    labels = found["answer"].map({name: label for label, name in enumerate(CLASSES)})
    corrected = images.assign(label=labels.where(relabelled, images["label"]).astype("int64"))[~leaves]
    corrected, masks_dropped = _without_refuted_masks(corrected, relabelled[~leaves])
    return Corrected(
        images=corrected,
        quarantined=_quarantine(changed[leaves[changed.index]]),
        changed=changed.reset_index(drop=True),
        confirmed=int((answered & ~differs).sum()),
        disputed=_disputed(images.assign(label=was), standing.disputed),
        masks_dropped=masks_dropped,
    )


def _is_of_one_class(images: pd.DataFrame, sources: Iterable[Source]) -> pd.Series:
    """Return for each image whether its source has the option `all`."""
    names = []
    for source in sources:
        if source.one_class:
            names.append(source.name)
    return images["source"].isin(names)


def _without_refuted_masks(images: pd.DataFrame, relabelled: pd.Series) -> tuple[pd.DataFrame, int]:
    """Remove the masks that contradict a person's label. Return the images, and the number of removed masks.

    We assume that such a mask has the same mistake as the old label. If the mask stayed, the tile would be put into
    quarantine, because label and mask contradict each other.
    """
    refuted = contradicted_by_mask(images) & relabelled
    if not refuted.any():
        return images, 0
    images = images.copy()
    for column, value in WITHOUT_MASK.items():
        images.loc[refuted, column] = value
    return images, int(refuted.sum())


def _quarantine(leaving: pd.DataFrame) -> pd.DataFrame:
    reasons = []
    for was, answer, by, at, why, entry in leaving[["was", "answer", *PERSON]].itertuples(index=False):
        said = f"{by} called it {'a bad image' if answer == BAD_IMAGE else answer} on {at[:10]}"
        because = f": {why}" if why else ""
        reason = f"{said} (import {entry[:SHOWN_ID]}){because}"
        if answer != BAD_IMAGE:
            reason += f"; but its source has the option all={was}"
        reasons.append(reason)
    return quarantine(leaving, reasons)[QUARANTINE_COLUMNS]


def _disputed(images: pd.DataFrame, disputed: pd.DataFrame) -> pd.DataFrame:
    said = disputed["answer"] + " (" + disputed["by"] + ")"
    answers = said.groupby(disputed["tile"]).agg(", ".join)
    table = images[["sample_id", "source", "path", "label"]]
    return table.assign(answers=table["sample_id"].map(answers)).dropna(subset="answers").reset_index(drop=True)


def outcomes(changed: pd.DataFrame, chosen: pd.Series, quarantined: pd.DataFrame) -> list[str]:
    """For each changed file, return a text that says where the file is now, such as "in the data set version".

    Args:
        changed: The files that an answer changed: the columns sample_id, source, path and others.
        chosen: sample_ids of the data set version's images.
        quarantined: Table (source, path, reason) of all files in quarantine.
    """
    chosen_ids = set(chosen)
    names = zip(quarantined["source"], quarantined["path"], strict=True)
    reason_of = dict(zip(names, quarantined["reason"], strict=True))

    results = []
    for sample_id, source, path in changed[["sample_id", "source", "path"]].itertuples(index=False):
        reason = reason_of.get((source, path))
        if reason is not None:
            results.append(f"in quarantine: {reason}")
        else:
            results.append("in the data set version" if sample_id in chosen_ids else "a copy of another file")
    return results
