"""Read and write the answers that people gave about tiles. The store contains a list of them, which only grows.

An entry of the list is one import of answers, or the rollback of one import. It is the object `corrections/ID.json`,
where ID is the digest of its content. No entry is changed or deleted. Concurrent imports write different objects, so no
import is lost.

The sample_id identifies a tile. It is the sha256 of the bytes of the tile's file. So an answer still belongs to its
tile if the file is renamed or copied.

A person can sign an entry with a private key. If the parameter `ingest.correction_keys` contains public keys of people,
ingestion applies only entries that these people signed. So write access to the store is not enough to change labels.
"""

import datetime
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

import pandas as pd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.hashing import digest
from components.shared.services.records import read_record, write_record
from components.shared.services.s3_client import THREADS
from components.shared.services.store import Store
from components.shared.signatures import is_signed, public_key_from, sign

BAD_IMAGE = "bad image"
ANSWERS = (*CLASSES, BAD_IMAGE)
FOLDER = "corrections"
SHOWN_ID = 12  # number of characters of an entry's ID that people see and type
IF_DAMAGED = "restore it from a backup of the store, because without it some tiles would get their old labels back"
COLUMNS = ["tile", "answer", "by", "at", "why", "entry"]


@dataclass(frozen=True)
class Answer:
    """What a person answered about one tile.

    Attributes:
        tile: The tile's sample_id.
        old: The tile's label before the answer was imported. It is from the newest data set version that contained the
            tile; "unknown" if no data set version contained the tile.
        new: One of ANSWERS. It equals `old` if the person confirmed the label.
    """

    tile: str
    old: str
    new: str


@dataclass(frozen=True)
class Entry:
    """One entry of the list: an import of answers, or the rollback of an import.

    Attributes:
        by: Name of the person who answered, or who rolled an import back.
        at: Time when the entry was added, in UTC, as ISO 8601 with microseconds.
        why: The reason; may be empty for an import.
        answers: The answers; empty for a rollback.
        rolls_back: ID of the entry that this entry rolls back; "" for an import.
        signature: Signature of the entry's ID, in base64; "" if the person did not sign.
    """

    by: str
    at: str
    why: str
    answers: list[Answer] = field(default_factory=list)
    rolls_back: str = ""
    signature: str = ""

    @property
    def id(self) -> str:
        """The sha256 of the entry's content without its signature, 64 hex characters."""
        content = asdict(self)
        del content["signature"]
        return digest(content)

    @property
    def signed_text(self) -> str:
        """The text that the signature covers."""
        return f"crack-pipeline correction {self.id}"


@dataclass(frozen=True)
class Standing:
    """The answers that count. If a person answered several times about a tile, only the last answer counts.

    The answers of an import that was rolled back do not count.

    Attributes:
        agreed: Table with the columns COLUMNS, one row for each tile about which all people agree. `by` joins the names
            of these people, and the other columns are from the last answer.
        disputed: Table with the same columns, for the tiles about which people disagree. There is one row for each
            answer.
        digest: Digest of the whole list. It changes with every new entry.
    """

    agreed: pd.DataFrame
    disputed: pd.DataFrame
    digest: str


def now() -> str:
    """Return the current time in the format of `Entry.at`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def add_entry(store: Store, entry: Entry) -> None:
    """Add an entry to the list."""
    write_record(store, f"{FOLDER}/{entry.id}.json", entry)


def signed(entry: Entry, key: Ed25519PrivateKey) -> Entry:
    """Return the entry, signed with a private key."""
    return replace(entry, signature=sign(entry.signed_text, key))


def separate_unsigned(entries: list[Entry], keys: Mapping[str, str]) -> tuple[list[Entry], list[Entry]]:
    """Separate the entries with a valid signature from the other entries.

    A signature is valid if it was made with the key of the person in `Entry.by`.

    Args:
        entries: Entries of the list.
        keys: Name of a person -> public key, as `public_key_from` reads it. If it is empty, entries need no signature.

    Returns:
        The entries that count, and the entries without a valid signature, both in the given order.
    """
    if not keys:
        return entries, []

    by_person = {name: public_key_from(line) for name, line in keys.items()}
    counted, unsigned = [], []
    for entry in entries:
        key = by_person.get(entry.by)
        if key is not None and is_signed(entry.signed_text, entry.signature, key):
            counted.append(entry)
        else:
            unsigned.append(entry)
    return counted, unsigned


def read_entries(store: Store) -> list[Entry]:
    """Return all entries, the oldest first.

    Raises:
        DamagedObjectError: The content of an entry does not match its digest.
    """
    keys = [key for key, _ in store.list(f"{FOLDER}/")]
    with ThreadPoolExecutor(THREADS) as pool:
        entries = list(pool.map(lambda key: read_record(store, key, Entry, IF_DAMAGED), keys))
    return sorted(entries, key=lambda entry: (entry.at, entry.id))


def find_import(entries: list[Entry], name: str) -> Entry:
    """Return the import whose ID begins with `name`.

    Raises:
        InputError: No import has such an ID, several imports have such an ID, or the import was rolled back.
    """
    found = [entry for entry in entries if name and entry.id.startswith(name) and not entry.rolls_back]
    if len(found) != 1:
        raise InputError(
            f'{len(found)} imports have an ID that begins with "{name}"; give an ID that `crack-pipeline review list` '
            "shows"
        )
    for entry in entries:
        if entry.rolls_back == found[0].id:
            raise InputError(f"{name} is rolled back already, by {entry.by} at {entry.at}; nothing was changed")
    return found[0]


def standing_answers(entries: list[Entry]) -> Standing:
    """Find the answers that count, and the tiles about which people disagree.

    Args:
        entries: All entries, the oldest first.
    """
    rolled_back = {entry.rolls_back for entry in entries}
    rows = []
    for entry in entries:
        if entry.id not in rolled_back:
            for answer in entry.answers:
                rows.append([answer.tile, answer.new, entry.by, entry.at, entry.why, entry.id])
    answers = pd.DataFrame(rows, columns=COLUMNS).astype("str").drop_duplicates(["tile", "by"], keep="last")

    by_tile = answers.groupby("tile")
    disagree = by_tile["answer"].transform("nunique") > 1
    names = by_tile["by"].transform(lambda people: ", ".join(sorted(people)))
    agreed = answers.assign(by=names.astype("str"))[~disagree].drop_duplicates("tile", keep="last")
    return Standing(
        agreed=agreed.sort_values("tile", ignore_index=True),
        disputed=answers[disagree].sort_values(["tile", "at"], ignore_index=True),
        digest=digest([entry.id for entry in entries]),
    )
