"""Who is champion: promotions and rollbacks of a registered model's versions, with their history in the registry.

MLflow keeps no history of an alias and cannot compare and set one. So the history is the truth and the alias follows
it: an act first adds its entry as a tag of its own to the registered model, so that no act overwrites another's; then
the alias is moved to where the history's last entry says, and the history is read again until that holds. Two people
who act at once thus both stand in the history, in one order for all, and an act that was cut short after its entry is
finished by the next command.
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
from components.shared.services import mlflow_runs
from components.shared.services.mlflow_runs import CHAMPION, CHECKED, VERDICT, every, put

ENTRY, SETTLED = "crack.promotion.", "crack.settled"
SHOWN = "## Promotions\n\n| when | what | from | to | by | why |\n|---|---|---|---|---|---|\n"
LONGEST = {"by": 200, "why": 2000}  # characters; MLflow's tags hold 5000 bytes


@dataclass(frozen=True)
class Entry:
    """One act on the champion.

    Attributes:
        action: "promote" or "rollback".
        by: Who acted.
        why: Their reason.
        at: When, ISO 8601 in UTC.
        source: The champion they saw, None where there was none.
        target: The version they made champion.
        verdict: The target's verdict at that time.
        forced: Whether the act went against that verdict.
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
        """Say the act in one sentence; `name` is the registered model's."""
        before = f"after version {self.source}" if self.source else "the first one"
        return f"{name} version {self.target} is champion, {before} ({self.action} by {self.by}: {self.why})"


class Registry:
    """A registered model's versions and its champion."""

    def __init__(self, client: MlflowClient, name: str):
        """Find the registered model.

        Raises:
            InputError: There is none of that name.
        """
        self.client, self.name = client, name
        try:
            client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"there is no registered model {name}; a pipeline run whose winner passes the gates registers one, "
                "--name chooses another"
            ) from error

    def promote(self, version: str, by: str, why: str, force: bool = False) -> Entry | None:
        """Make a version champion.

        Args:
            version: Its number.
            by: Who acts.
            why: Their reason.
            force: Promote even though the version's verdict is not "passed"; the history says so.

        Returns:
            The history's new entry; None where the version is champion already.

        Raises:
            InputError: No such version, its verdict is not "passed", or `by` or `why` is empty or too long.
        """
        by, why = _checked("by", by), _checked("why", why)
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
        """Make the previous champion champion again; called again, the one before that.

        Raises:
            InputError: There is no earlier champion whose version still exists, or `by` or `why` is empty or too long.
        """
        by, why = _checked("by", by), _checked("why", why)
        self.settle()
        champion, kept = self.alias(CHAMPION), {str(found.version) for found in self.versions()}
        earlier = [version for version in former_champions(self.history(), champion) if version in kept]
        if not earlier:
            raise InputError(f"{self.name} has no earlier champion to return to; `crack-pipeline history` lists all")
        return self._act("rollback", by, why, earlier[-1], verdict_on(self.version(earlier[-1])))

    def _act(self, action: str, by: str, why: str, target: str, verdict: str) -> Entry:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        forced = action == "promote" and verdict != "passed"
        entry = Entry(action, by, why, now, self.alias(CHAMPION), target, verdict, forced)
        seen = self._entries()
        number = 1 + max((int(key.removeprefix(ENTRY).split(".")[0]) for key, _ in seen), default=0)
        # the random end keeps two who act at once apart; whose number is equal stand in the order of their ends
        key = f"{ENTRY}{number:06d}.{secrets.token_hex(4)}"
        self.client.set_registered_model_tag(self.name, key, json.dumps(asdict(entry), ensure_ascii=False))
        self.settle()
        return entry

    def settle(self) -> bool:
        """Let the alias follow the history, finishing what an act cut short began; True where there was such work.

        The alias is left alone where the last entry was settled before: whoever moved it since did so by hand.
        """
        worked = False
        while True:
            entries, settled = self._entries(), self._tags().get(SETTLED)
            if not entries or settled == entries[-1][0]:
                return worked
            key, entry = entries[-1]
            put(self.client.set_registered_model_alias, self.name, CHAMPION, entry.target)
            self._show([entry for _, entry in entries])
            put(self.client.set_registered_model_tag, self.name, SETTLED, key)
            worked = True

    def _show(self, history: list[Entry]) -> None:
        """Let the model's page in MLflow tell the newest acts, below what people wrote there."""
        written = self.client.get_registered_model(self.name).description or ""
        shown = f"{written.partition(SHOWN)[0].rstrip()}\n\n{SHOWN}"
        for entry in reversed(history):
            what = f"{entry.action}, forced" if entry.forced else entry.action
            cells = (entry.at, what, entry.source or "none", entry.target, entry.by, entry.why)
            row = f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in cells)} |\n"
            if len(shown) + len(row) > mlflow_runs.LONGEST:
                break
            shown += row
        self.client.update_registered_model(self.name, shown.lstrip())

    def history(self) -> list[Entry]:
        """Every act, oldest first."""
        return [entry for _, entry in self._entries()]

    def alias(self, alias: str) -> str | None:
        """Return the number of the version that bears an alias, or None."""
        found = self.client.get_registered_model(self.name).aliases.get(alias)
        return None if found is None else str(found)

    def versions(self) -> list[ModelVersion]:
        """Every version, newest first."""
        found = every(self.client.search_model_versions, f"name = '{self.name}'")
        return sorted(found, key=lambda version: -int(version.version))

    def run(self, version: ModelVersion) -> Run | None:
        """The run that made a version; None where it is gone, or never was."""
        try:
            return self.client.get_run(version.run_id) if version.run_id else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def moved_by_hand(self) -> bool:
        """Whether the alias is elsewhere than the settled history says."""
        history = self.history()
        return bool(history) and self.alias(CHAMPION) != history[-1].target

    def version(self, version: str) -> ModelVersion:
        """Return a version. Raises `InputError`, naming those that exist, where there is none of that number."""
        known = {str(found.version): found for found in self.versions()}
        if version not in known:
            raise InputError(f"{self.name} has no version {version!r}; there are: {', '.join(known) or 'none'}")
        return known[version]

    def _tags(self) -> dict[str, str]:
        return self.client.get_registered_model(self.name).tags

    def _entries(self) -> list[tuple[str, Entry]]:
        keyed = sorted((key, value) for key, value in self._tags().items() if key.startswith(ENTRY))
        return [(key, Entry(**json.loads(value))) for key, value in keyed]


def verdict_on(version: ModelVersion) -> str:
    """Return "passed", or what stands against a version: the gates' verdict, or what the infra check found wrong."""
    verdict, checked = version.tags.get(VERDICT, "unknown"), version.tags.get(CHECKED, "not checked")
    return verdict if verdict != "passed" or checked == "passed" else f"infra check: {checked}"


def former_champions(history: list[Entry], champion: str | None) -> list[str]:
    """Return the versions that a rollback may return to, the nearest last.

    Promotions pile up, a rollback takes from the pile's top. A champion that an act saw, but that no earlier act made
    (it was set by hand, or by someone at the same time), joins the pile.
    """
    pile: list[str] = []
    for entry in history:
        if entry.source is not None and pile[-1:] != [entry.source]:
            pile.append(entry.source)
        if entry.action == "promote":
            pile.append(entry.target)
            continue
        while pile and pile[-1] != entry.target:
            pile.pop()
    if pile[-1:] == [champion]:
        pile.pop()
    return [version for version in pile if version != champion]


def _checked(name: str, text: str) -> str:
    text = text.strip()
    if not text:
        raise InputError(f"--{name} is empty; the history says who acted and why")
    if len(text) > LONGEST[name]:
        raise InputError(f"--{name} has {len(text)} characters; at most {LONGEST[name]} fit into the history")
    return text
