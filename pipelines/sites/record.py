"""Store a site's plan and verdict in the registry.

Both are files in the run of the model version. The verdict is also a tag of the model version.
"""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from components.shared.errors import InputError
from components.shared.services.mlflow_runs import put
from pipelines.registry.promotions import SITE_PREFIX, Registry
from pipelines.sites.plan import Claim, Plan

FOLDER = "sites"
TILES, DRAWS, PLAN, VERDICT = "tiles.parquet", "draws.parquet", "plan.json", "verdict.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


def check_name(site: str) -> str:
    """Check a site's name, and return it.

    Raises:
        InputError: The name cannot be part of a tag and of a folder's name.
    """
    if not NAME.fullmatch(site):
        raise InputError(
            f"the site's name {site!r} must have 1 to 60 letters, digits, dots, hyphens and underscores, and start "
            "with a letter or digit; give another name with --site"
        )
    return site


@dataclass(frozen=True)
class SiteRecord:
    """The data that the registry stores about one model version at one site."""

    registry: Registry
    version: str
    site: str

    def plan(self) -> Plan | None:
        """Return the plan that an earlier call stored. Return None if there is none."""
        run_id = self._run().info.run_id
        client = self.registry.client
        names = {Path(file.path).name for file in client.list_artifacts(run_id, f"{FOLDER}/{self.site}")}
        if PLAN not in names:
            return None

        with tempfile.TemporaryDirectory() as folder:
            found = Path(client.download_artifacts(run_id, f"{FOLDER}/{self.site}", folder))
            claim: Claim = json.loads((found / PLAN).read_text(encoding="utf-8"))["claim"]
            return Plan(claim, pd.read_parquet(found / TILES), pd.read_parquet(found / DRAWS))

    def keep_plan(self, plan: Plan) -> None:
        """Store a plan, so that later calls for this version and site use the same randomly drawn tiles."""
        with tempfile.TemporaryDirectory() as folder:
            plan.tiles.to_parquet(Path(folder) / TILES)
            plan.draws.to_parquet(Path(folder) / DRAWS)
            (Path(folder) / PLAN).write_text(json.dumps({"claim": plan.claim}), encoding="utf-8")
            self.registry.client.log_artifacts(self._run().info.run_id, folder, f"{FOLDER}/{self.site}")

    def keep_verdict(self, verdict: dict[str, Any], files: dict[str, Path]) -> None:
        """Store a verdict and its files, and set the tag of the model version.

        Args:
            verdict: The verdict as JSON values.
            files: Name of a file in the run -> text file on this machine.
        """
        client = self.registry.client
        run_id = self._run().info.run_id
        place = f"{FOLDER}/{self.site}"
        client.log_text(run_id, json.dumps(verdict, indent=1), f"{place}/{VERDICT}")
        for name, file in files.items():
            client.log_text(run_id, file.read_text(encoding="utf-8"), f"{place}/{name}")
        put(
            client.set_model_version_tag, self.registry.name, self.version, SITE_PREFIX + self.site, json.dumps(verdict)
        )

    def _run(self) -> Run:
        run = self.registry.run(self.registry.version(self.version))
        if run is None:
            raise InputError(
                f"the run of {self.registry.name} version {self.version} was deleted, so the registry cannot store a "
                "plan for a site; restore the run in MLflow, or register the model again"
            )
        return run
