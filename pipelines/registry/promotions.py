"""Promote model versions and roll back, with a history in the registry.

MLflow does not store the history of an alias. It also cannot compare and set an alias in a single step. So we store the
history ourselves, and move the alias to the model version that the history names:

1. An act (a promotion or a rollback) adds an entry to the history. Each entry is a separate tag, so no act overwrites
   another act.
2. The act moves the alias to the model version that the last entry names.
3. The act reads the history again. If there is a newer entry, it repeats step 2.

If two people act at the same time, the history contains both acts, and everyone sees the same order. If an act is
interrupted after step 1, the next command finishes the act.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.markdown import markdown_row
from components.shared.services import mlflow_runs
from components.shared.services.mlflow_runs import CHAMPION, CHECKED, DIGEST, VERDICT, every, put
from components.shared.services.version_files import version_digest, version_folder
from pipelines.registry import signing

ENTRY_PREFIX = "crack.promotion."  # start of the names of the tags that contain the history
SETTLED = "crack.settled"  # tag with the key of the last entry for which the alias was moved
SITE_PREFIX = "crack.site."  # start of the names of a model version's tags with its verdicts at sites
TABLE_HEAD = "## Promotions\n\n| when | what | from | to | by | why |\n|---|---|---|---|---|---|\n"
MAX_CHARACTERS = {"by": 200, "why": 2000}  # an MLflow tag can contain at most 5000 bytes


@dataclass(frozen=True)
class Entry:
    """An entry of the history: one change of the champion.

    Attributes:
        action: "promote" or "rollback".
        by: Name of the person who changed the champion.
        why: The person's reason.
        at: Time of the change, ISO 8601 in UTC.
        source: Model version of the previous champion. None if there was no champion.
        target: Model version of the new champion.
        verdict: Verdict on the target at the time of the change.
        forced: True if the target was promoted although its verdict was not "passed".
    """

    action: str
    by: str
    why: str
    at: str
    source: str | None
    target: str
    verdict: str
    forced: bool

    def sentence(self, name: str) -> str:
        """Return the change as one sentence. `name` is the name of the registered model."""
        before = f"after version {self.source}" if self.source else "the first one"
        return f"{name} version {self.target} is champion, {before} ({self.action} by {self.by}: {self.why})"


class Registry:
    """A registered model: its model versions, its champion and its history."""

    def __init__(self, client: MlflowClient, name: str):
        """Find the registered model.

        Raises:
            InputError: There is no registered model of that name.
        """
        self.client = client
        self.name = name
        try:
            client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"there is no registered model {name}; run the pipeline until a candidate passes the gate, or give "
                "another name with --name"
            ) from error

    def promote(
        self, version: str, by: str, why: str, force: bool = False, signed_by: Path | None = None
    ) -> Entry | None:
        """Make a model version the champion.

        Args:
            version: Number of the model version.
            by: Name of the person who promotes the version.
            why: The person's reason.
            force: True promotes the version even if its verdict is not "passed". The history records this.
            signed_by: PEM file of a public key. The version must be signed with the matching private key. None: the
                version needs no signature.

        Returns:
            The new entry of the history; None if the version is already the champion.

        Raises:
            InputError: There is no such version, its files are not the registered files, or a required signature is
                missing or wrong. Or `force` is false, and the verdict is not "passed". Or `by` or `why` is empty or too
                long.
        """
        by = _checked("by", by)
        why = _checked("why", why)
        verdict = verdict_on(self.version(version))
        if verdict != "passed" and not force:
            raise InputError(
                f"the verdict on {self.name} version {version} is {verdict!r}, not 'passed'; promote another version, "
                "or promote this version with --force. The history records the use of --force"
            )
        self._require_files(version, signed_by)

        self.settle()
        if self.alias(CHAMPION) == version:
            return None
        return self._act("promote", by, why, version, verdict)

    def rollback(self, by: str, why: str, signed_by: Path | None = None) -> Entry:
        """Make the previous champion the champion again. A second call goes one champion further back.

        Args:
            by: Name of the person who rolls back.
            why: The person's reason.
            signed_by: As for `promote`.

        Raises:
            InputError: There is no earlier champion whose model version still exists. Or the files of this version are
                not the registered files, or a required signature is missing or wrong. Or `by` or `why` is empty or too
                long.
        """
        by = _checked("by", by)
        why = _checked("why", why)
        self.settle()

        existing = self._by_number()
        former = former_champions(self.history(), self.alias(CHAMPION))
        candidates = [version for version in former if version in existing]
        if not candidates:
            raise InputError(
                f"{self.name} has no earlier champion to return to; `crack-pipeline history` shows all promotions"
            )
        target = candidates[-1]
        self._require_files(target, signed_by)
        return self._act("rollback", by, why, target, verdict_on(self.version(target)))

    def sign(self, version: str, private_key: Path) -> None:
        """Sign the files of a model version with the Ed25519 key in a PEM file; see `signing.sign`."""
        self.version(version)
        with version_folder(self.name, version) as folder:
            tag, signature = signing.sign(version_digest(folder), private_key)
        put(self.client.set_model_version_tag, self.name, version, tag, signature)

    def _require_files(self, number: str, signed_by: Path | None) -> None:
        """Raise InputError if a version's files are not the registered files, or the signature is missing or wrong."""
        version = self.version(number)
        if signed_by is None and DIGEST not in version.tags:
            log.warning("%s version %s was registered without a digest; its files are not checked", self.name, number)
            return
        with signing.signed_folder(self.name, number, signed_by):
            pass

    def _act(self, action: str, by: str, why: str, target: str, verdict: str) -> Entry:
        """Add an entry to the history, move the alias, and return the entry."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        forced = action == "promote" and verdict != "passed"
        entry = Entry(action, by, why, now, self.alias(CHAMPION), target, verdict, forced)

        entries = self._entries()
        number = 1
        if entries:
            last_key, _ = entries[-1]
            number = int(last_key.removeprefix(ENTRY_PREFIX).split(".")[0]) + 1
        # If two people act at the same time, their two entries get the same number. The random ending makes the two
        # keys different, and decides the order of the two acts.
        key = f"{ENTRY_PREFIX}{number:06d}.{secrets.token_hex(4)}"
        self.client.set_registered_model_tag(self.name, key, json.dumps(asdict(entry), ensure_ascii=False))
        self.settle()
        return entry

    def settle(self) -> bool:
        """Move the alias to the model version that the history names. This finishes an interrupted act.

        If an earlier call has already moved the alias for the last entry, this call does not move it again. So an alias
        that a person has moved by hand stays where it is.

        Returns:
            True if the alias was moved.
        """
        moved = False
        while True:
            entries = self._entries()
            if not entries:
                return moved
            key, last = entries[-1]
            if self._tags().get(SETTLED) == key:
                return moved

            put(self.client.set_registered_model_alias, self.name, CHAMPION, last.target)
            self._describe(self.history())
            put(self.client.set_registered_model_tag, self.name, SETTLED, key)
            moved = True

    def _describe(self, history: list[Entry]) -> None:
        """Write the newest entries to the model's description in MLflow, below the text that people wrote there."""
        description = self.client.get_registered_model(self.name).description or ""
        own_text = description.partition(TABLE_HEAD)[0].rstrip()
        shown = f"{own_text}\n\n{TABLE_HEAD}"

        for entry in reversed(history):
            action = f"{entry.action}, forced" if entry.forced else entry.action
            cells = (entry.at, action, entry.source or "none", entry.target, entry.by, entry.why)
            row = f"{markdown_row(cells)}\n"
            if len(shown) + len(row) > mlflow_runs.LONGEST:
                break
            shown += row
        self.client.update_registered_model(self.name, shown.lstrip())

    def history(self) -> list[Entry]:
        """Return all entries, the oldest first."""
        return [entry for _, entry in self._entries()]

    def alias(self, alias: str) -> str | None:
        """Return the number of the model version that has an alias. Return None if no version has this alias."""
        found = self.client.get_registered_model(self.name).aliases.get(alias)
        return None if found is None else str(found)

    def versions(self) -> list[ModelVersion]:
        """Return all model versions, the newest first."""
        found = every(self.client.search_model_versions, f"name = '{self.name}'")
        return sorted(found, key=lambda version: -int(version.version))

    def run(self, version: ModelVersion) -> Run | None:
        """Return the MLflow run that made a model version. Return None if the run was deleted or never existed."""
        try:
            return self.client.get_run(version.run_id) if version.run_id else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def moved_by_hand(self) -> bool:
        """Return whether the alias names a different model version than the last entry of the history."""
        history = self.history()
        return bool(history) and self.alias(CHAMPION) != history[-1].target

    def version(self, version: str) -> ModelVersion:
        """Return a model version.

        Raises:
            InputError: There is no model version with this number. The message names all versions.
        """
        known = self._by_number()
        if version not in known:
            raise InputError(f"{self.name} has no version {version!r}; its versions are: {', '.join(known) or 'none'}")
        return known[version]

    def _by_number(self) -> dict[str, ModelVersion]:
        return {str(version.version): version for version in self.versions()}

    def _tags(self) -> dict[str, str]:
        return self.client.get_registered_model(self.name).tags

    def _entries(self) -> list[tuple[str, Entry]]:
        """Return the keys and entries of the history, the oldest first."""
        entries = []
        for key, value in sorted(self._tags().items()):
            if key.startswith(ENTRY_PREFIX):
                entries.append((key, Entry(**json.loads(value))))
        return entries


def verdict_on(version: ModelVersion) -> str:
    """Return the gate's verdict on a version.

    At registration, the answers of the version are also checked. If the verdict is "passed", but this check was not
    passed, return the result of the check instead.
    """
    verdict = version.tags.get(VERDICT, "unknown")
    checked = version.tags.get(CHECKED, "not checked")
    if verdict == "passed" and checked != "passed":
        return f"check of its answers: {checked}"
    return verdict


def former_champions(history: list[Entry], champion: str | None) -> list[str]:
    """Return the model versions that a rollback can return to. The next rollback returns to the last of them.

    Champions form a stack: a promotion adds a version to the top, and a rollback removes versions from the top. An act
    can have a `source` that is not on top of the stack, because a person moved the alias by hand, or two people acted
    at the same time. Then we first add this `source` to the stack.
    """
    stack: list[str] = []
    for entry in history:
        if entry.source is not None and stack[-1:] != [entry.source]:
            stack.append(entry.source)

        if entry.action == "promote":
            stack.append(entry.target)
        else:
            while stack and stack[-1] != entry.target:
                stack.pop()

    if stack[-1:] == [champion]:
        stack.pop()
    return [version for version in stack if version != champion]


def _checked(name: str, text: str) -> str:
    """Check the text of option --by or --why, and return it without spaces at both ends."""
    text = text.strip()
    if not text:
        raise InputError(f"--{name} is empty; give a text, because the history records who acted and why")
    if len(text) > MAX_CHARACTERS[name]:
        raise InputError(f"--{name} has {len(text)} characters; shorten it to at most {MAX_CHARACTERS[name]}")
    return text
