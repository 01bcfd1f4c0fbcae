"""Promote a registered model's versions and roll back, with a history in the registry.

MLflow keeps no history of an alias, and it cannot compare and set one in a single step. Therefore the history decides
and the alias follows:

1. An act adds its entry to the history, as a tag of its own, so that no act overwrites another.
2. It moves the alias to the version that the last entry names.
3. It reads the history again, until the alias is where the last entry says.

Two people who act at once are both in the history, and everyone sees the same order. If an act is interrupted after
step 1, the next command finishes it.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.markdown import markdown_row
from components.shared.services import mlflow_runs
from components.shared.services.mlflow_runs import CHAMPION, CHECKED, VERDICT, every, put

ENTRY_PREFIX = "crack.promotion."  # of the tags that hold the history
SETTLED = "crack.settled"  # tag: key of the last entry that the alias has followed
TABLE_HEAD = "## Promotions\n\n| when | what | from | to | by | why |\n|---|---|---|---|---|---|\n"
MAX_CHARACTERS = {"by": 200, "why": 2000}  # an MLflow tag holds 5000 bytes


@dataclass(frozen=True)
class Entry:
    """One change of the champion.

    Attributes:
        action: "promote" or "rollback".
        by: Name of the person.
        why: Their reason.
        at: Time, ISO 8601 in UTC.
        source: Version of the previous champion; None if there was none.
        target: Version of the new champion.
        verdict: The target's verdict at that time.
        forced: Whether the target was promoted against its verdict.
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
        """Return the act as one sentence; `name` is the registered model's."""
        before = f"after version {self.source}" if self.source else "the first one"
        return f"{name} version {self.target} is champion, {before} ({self.action} by {self.by}: {self.why})"


class Registry:
    """A registered model's versions and its champion."""

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
                f"there is no registered model {name}; a pipeline run whose winner passes the gate registers one, "
                "--name names another"
            ) from error

    def promote(self, version: str, by: str, why: str, force: bool = False) -> Entry | None:
        """Make a version champion.

        Args:
            version: Its number.
            by: Name of the person.
            why: Their reason.
            force: Promote even if the version's verdict is not "passed". The history records it.

        Returns:
            The history's new entry; None if the version is champion already.

        Raises:
            InputError: There is no such version, its verdict is not "passed", or `by` or `why` is empty or too long.
        """
        by = _checked("by", by)
        why = _checked("why", why)
        verdict = verdict_on(self.version(version))
        if verdict != "passed" and not force:
            raise InputError(
                f"the verdict on {self.name} version {version} is {verdict!r}, not 'passed'; promote another version, "
                "or this one with --force, which the history records"
            )

        self.settle()
        if self.alias(CHAMPION) == version:
            return None
        return self._act("promote", by, why, version, verdict)

    def rollback(self, by: str, why: str) -> Entry:
        """Make the previous champion champion again. A second call goes back by one more.

        Raises:
            InputError: There is no earlier champion whose version still exists, or `by` or `why` is empty or too long.
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
        return self._act("rollback", by, why, target, verdict_on(self.version(target)))

    def _act(self, action: str, by: str, why: str, target: str, verdict: str) -> Entry:
        """Add an entry to the history and let the alias follow."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        forced = action == "promote" and verdict != "passed"
        entry = Entry(action, by, why, now, self.alias(CHAMPION), target, verdict, forced)

        entries = self._entries()
        number = 1
        if entries:
            last_key, _ = entries[-1]
            number = int(last_key.removeprefix(ENTRY_PREFIX).split(".")[0]) + 1
        # Two people who act at once choose the same number. Their random endings keep the keys apart and in order.
        key = f"{ENTRY_PREFIX}{number:06d}.{secrets.token_hex(4)}"
        self.client.set_registered_model_tag(self.name, key, json.dumps(asdict(entry), ensure_ascii=False))
        self.settle()
        return entry

    def settle(self) -> bool:
        """Move the alias to where the history says, and so finish an interrupted act.

        If the alias has followed the last entry before, it stays: a person has moved it by hand since then.

        Returns:
            Whether there was anything to do.
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
        """Write the newest acts into the model's description in MLflow, below the text that people wrote there."""
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
        """Return every act, oldest first."""
        return [entry for _, entry in self._entries()]

    def alias(self, alias: str) -> str | None:
        """Return the number of the version that has an alias, or None."""
        found = self.client.get_registered_model(self.name).aliases.get(alias)
        return None if found is None else str(found)

    def versions(self) -> list[ModelVersion]:
        """Return every version, newest first."""
        found = every(self.client.search_model_versions, f"name = '{self.name}'")
        return sorted(found, key=lambda version: -int(version.version))

    def run(self, version: ModelVersion) -> Run | None:
        """Return the MLflow run that made a version; None if it was deleted or never existed."""
        try:
            return self.client.get_run(version.run_id) if version.run_id else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def moved_by_hand(self) -> bool:
        """Return whether the alias is at another version than the history says."""
        history = self.history()
        return bool(history) and self.alias(CHAMPION) != history[-1].target

    def version(self, version: str) -> ModelVersion:
        """Return a version.

        Raises:
            InputError: There is no version of that number; the message names all versions.
        """
        known = self._by_number()
        if version not in known:
            raise InputError(f"{self.name} has no version {version!r}; there are: {', '.join(known) or 'none'}")
        return known[version]

    def _by_number(self) -> dict[str, ModelVersion]:
        return {str(version.version): version for version in self.versions()}

    def _tags(self) -> dict[str, str]:
        return self.client.get_registered_model(self.name).tags

    def _entries(self) -> list[tuple[str, Entry]]:
        """Return the history's keys and entries, oldest first."""
        entries = []
        for key, value in sorted(self._tags().items()):
            if key.startswith(ENTRY_PREFIX):
                entries.append((key, Entry(**json.loads(value))))
        return entries


def verdict_on(version: ModelVersion) -> str:
    """Return "passed", or else the gate's verdict or what the infra check found wrong."""
    verdict = version.tags.get(VERDICT, "unknown")
    checked = version.tags.get(CHECKED, "not checked")
    if verdict == "passed" and checked != "passed":
        return f"infra check: {checked}"
    return verdict


def former_champions(history: list[Entry], champion: str | None) -> list[str]:
    """Return the versions that a rollback may return to, the nearest last.

    Champions form a stack: a promotion adds to it, a rollback removes from its top. An act may have seen a champion
    that no earlier act made, because someone moved the alias by hand or acted at the same time. It joins the stack too.
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
    """Return the text of option --by or --why without spaces around it."""
    text = text.strip()
    if not text:
        raise InputError(f"--{name} is empty; the history needs to say who acted and why")
    if len(text) > MAX_CHARACTERS[name]:
        raise InputError(f"--{name} has {len(text)} characters; shorten it to at most {MAX_CHARACTERS[name]}")
    return text
