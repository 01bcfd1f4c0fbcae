"""Add the answers in a file to the store's list of corrections, as one entry."""

import re
from collections.abc import Collection, Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.shared.data.corrections import (
    ANSWERS,
    BAD_IMAGE,
    Answer,
    Entry,
    Standing,
    add_entry,
    find_import,
    now,
    read_entries,
    signed,
    standing_answers,
)
from components.shared.data.manifest import CLASSES
from components.shared.data.versions import MANIFEST, read_version, version_names
from components.shared.errors import InputError
from components.shared.services.store import Store
from components.shared.signatures import is_signed
from pipelines.review.answers import UNSURE, Given
from pipelines.review.labelled_tiles import Labelled, new_tiles, write_labelled
from pipelines.review.read_answers import read_answers

LONGEST_NAME = 80
UNKNOWN = "unknown"  # the old label in an answer, if no data set version has the tile


class Imported(NamedTuple):
    """The result of an import.

    Attributes:
        entry: The new entry; None if the list already had all answers.
        given: The answers in the file.
        standing: The answers that count now.
        repeated: Number of answers in the file that this person had given before.
        labelled: The table of labelled tiles of inspected photos; None if no queue was given.
    """

    entry: Entry | None
    given: Given
    standing: Standing
    repeated: int
    labelled: Labelled | None = None


def import_answers(
    store: Store,
    path: Path,
    by: str,
    why: str = "",
    keep_unknown: bool = False,
    unmarked_shows_no_crack: bool = False,
    queue: Path | None = None,
    key: Ed25519PrivateKey | None = None,
) -> Imported:
    """Add the answers in a file to the list of corrections. The next ingestion applies the answers that count.

    Tiles that were cut from inspected photos are in no data set version. If `queue` is given, the answers about these
    tiles are also written to a table in the folder of the queue. Ingestion reads the table if the table is one of the
    sources.

    Args:
        store: Storage root.
        path: The file, in one of the formats of `read_answers`.
        by: Name of the person who answered.
        why: The reason; may be empty.
        keep_unknown: True keeps answers about tiles that no data set version has. Such an answer counts as soon as its
            tile is ingested.
        unmarked_shows_no_crack: True: a tile without any mark shows no crack. False: nobody has answered such a tile.
        queue: The folder of the queue; needed if the file has answers about tiles of inspected photos.
        key: The person's private key, which signs the entry. None: the entry is not signed.

    Raises:
        InputError: The name is empty, the file cannot be read or has no answers, the store has no data set version, or
            some of the tiles are in no data set version of the store. Nothing is added.
    """
    person = checked_name(by)
    given = read_answers(path, unmarked_shows_no_crack)
    answers = {tile: answer for tile, answer in given.answers.items() if answer in ANSWERS}
    if not answers:
        unsure = sum(answer == UNSURE for answer in given.answers.values())
        raise InputError(
            f"{path} has no answer to import: {len(given.unanswered)} tiles have no answer, {unsure} have the answer "
            f"unsure, and {len(given.left_out)} were left out{_first_of(given.left_out)}; answer more tiles"
        )

    labels = labels_of(store, answers)
    if not keep_unknown:
        inspected = set() if queue is None else set(new_tiles(queue)["tile"])
        _require_known(answers, labels.keys() | inspected, store, path)

    entries = read_entries(store)
    own = _own_answers(entries, person, key)
    new = [
        Answer(tile, labels.get(tile, UNKNOWN), answers[tile])
        for tile in sorted(answers)
        if own.get(tile) != answers[tile]
    ]
    entry = None
    if new:
        entry = _add(store, Entry(person, now(), why.strip(), new), key)
        entries = [*entries, entry]
    standing = standing_answers(entries)
    labelled = None if queue is None else write_labelled(queue, standing)
    return Imported(entry, given, standing, len(answers) - len(new), labelled)


def _require_known(answers: Collection[str], known: Collection[str], store: Store, path: Path) -> None:
    """Raise InputError if a file has answers about tiles that are not in `known`."""
    unknown = sorted(set(answers) - set(known))
    if unknown:
        raise InputError(
            f"{len(unknown)} of the {len(answers)} tiles in {path} are in no data set version of {store.uri}, such as "
            f"{unknown[0]}. Nothing was imported. Give the store of the queue. If the tiles come from inspected "
            "photos, give the folder of the queue with --queue. Otherwise, remove these tiles from the file, or keep "
            "their answers for a later ingestion with --keep-unknown"
        )


def roll_back(store: Store, name: str, by: str, why: str, key: Ed25519PrivateKey | None = None) -> Entry:
    """Roll an import back: add an entry that names this import. Return the import.

    Args:
        store: Storage root.
        name: ID of the import, or the first characters of the ID.
        by: Name of the person who decides.
        why: The reason.
        key: The person's private key, which signs the entry. None: the entry is not signed.

    Raises:
        InputError: The name or the reason is empty, there is no such import, or it is rolled back already.
    """
    person = checked_name(by)
    if not why.strip():
        raise InputError("--why is empty; give the reason, which is stored with the corrections")
    undone = find_import(read_entries(store), name)
    _add(store, Entry(person, now(), why.strip(), rolls_back=undone.id), key)
    return undone


def _add(store: Store, entry: Entry, key: Ed25519PrivateKey | None) -> Entry:
    if key is not None:
        entry = signed(entry, key)
    add_entry(store, entry)
    return entry


def checked_name(by: str) -> str:
    """Check a person's name, and return it without surplus spaces.

    Raises:
        InputError: The name is empty, too long, or has characters that cannot be printed.
    """
    name = re.sub(r"\s+", " ", by).strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"--by is {by!r}; give the name of the person who answered, 1 to {LONGEST_NAME} characters")
    return name


def labels_of(store: Store, tiles: Iterable[str]) -> dict[str, str]:
    """Return a dict: tile -> its label. The label is from the newest data set version that has the tile.

    A tile that is in no data set version is not in the result.

    Raises:
        InputError: The store has no data set version.
    """
    names = version_names(store)
    if not names:
        raise InputError(
            f"{store.uri} has no data set version, so it has no tiles; give the --workdir or the --params of the run "
            "that the queue was made from"
        )

    remaining, labels = set(tiles), {}
    for name in names:
        version = read_version(store, name) if remaining else None
        if version:
            table = pq.read_table(BytesIO(version.read(store, MANIFEST)), columns=["sample_id", "label"]).to_pydict()
            for tile, label in zip(table["sample_id"], table["label"], strict=True):
                if tile in remaining:
                    labels[tile] = CLASSES[label]
            remaining -= labels.keys()
    return labels


def summary(imported: Imported) -> list[str]:
    """Return what an import did, in sentences for people."""
    lines = []
    if imported.entry:
        answers = imported.entry.answers
        bad = sum(answer.new == BAD_IMAGE for answer in answers)
        changed = sum(answer.new != answer.old for answer in answers) - bad
        first = sum(answer.old == UNKNOWN and answer.new != BAD_IMAGE for answer in answers)
        lines.append(
            f"{len(answers)} answers of {imported.entry.by}: {changed - first} change the label, {bad} are bad images, "
            f"and {len(answers) - changed - bad} confirm the label"
        )
        if first:
            lines.append(f"{first} answers label tiles that no data set version has")
    if imported.repeated:
        lines.append(f"{imported.repeated} answers were in the list already")

    labelled = imported.labelled
    if labelled and labelled.tiles:
        lines.append(
            f"{labelled.path} has {labelled.tiles} tiles of inspected photos with their labels; to train with them, "
            f"add this table to the sources of your data: DATA='…,{labelled.path}?source=inspected'"
        )

    given = imported.given
    unsure = sum(answer == UNSURE for answer in given.answers.values())
    if unsure or given.unanswered:
        lines.append(f"not imported: {unsure} unsure, {len(given.unanswered)} without an answer")
    if given.left_out:
        lines.append(f"left out: {len(given.left_out)}{_first_of(given.left_out)}")
    disputed = imported.standing.disputed["tile"].nunique()
    if disputed:
        lines.append(f"people disagree about {disputed} tiles, so no answer about these tiles is applied")
    return lines


def _own_answers(entries: list[Entry], person: str, key: Ed25519PrivateKey | None) -> dict[str, str]:
    """Return the answers of one person that count now, as tile -> answer.

    With a key, return only the answers that were signed with this key.
    """
    own = [entry for entry in entries if entry.by == person and not entry.rolls_back]
    if key is not None:
        own = [entry for entry in own if is_signed(entry.signed_text, entry.signature, key.public_key())]
    rollbacks = [entry for entry in entries if entry.rolls_back]
    standing = standing_answers([*own, *rollbacks])
    return dict(zip(standing.agreed["tile"], standing.agreed["answer"], strict=True))


def _first_of(reasons: list[str]) -> str:
    return f" (the first: {reasons[0]})" if reasons else ""
