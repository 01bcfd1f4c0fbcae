"""Write the files of a model version as MLflow stores them."""

import importlib.metadata
import shutil
from dataclasses import dataclass
from modulefinder import ModuleFinder
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from components.shared.data.drift_profile import read_profile
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.data.novelty import embedding_limit, write_limit
from components.shared.hashing import digest, file_digest
from components.shared.network.saved_network import weights_digest
from components.shared.page import Page
from components.shared.results.dossier import CALIBRATION, PROFILE
from components.shared.results.predictions import read_predictions

# These images are like the training images, but no weights were fitted to them.
HELD_OUT_SPLITS = ("val", "test")
# The model must not be tested on these splits. val decides which weights are saved, and it decides the calibration.
TRAINING_SPLITS = ("train", "val")
ROOT = Path(__file__).parents[2]
SERVED_MODEL = Path(__file__).with_name("served_model.py")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "image")]),
    outputs=Schema(
        [
            ColSpec("double", "p_crack"),
            ColSpec("string", "label"),
            ColSpec("double", "threshold"),
            ColSpec("double", "novelty"),
            ColSpec("boolean", "needs_review", required=False),  # null if the model has no review band
        ]
    ),
)
REQUIREMENTS = (
    "boto3", "mlflow", "numpy", "opencv-python-headless", "pandas", "pi-heif", "pillow", "pyarrow", "pydantic",
    "safetensors", "tifffile", "timm", "torch", "torchvision",
)  # fmt: skip


@dataclass(frozen=True)
class Winner:
    """The paths of the winner's artifacts and of its training data.

    Attributes:
        model: Saved-model folder.
        predictions: Predictions folder.
        dossier: Dossier folder.
        manifest: manifest.parquet of the data set version.
        splits: Table (sample_id, split).
    """

    model: str
    predictions: str
    dossier: str
    manifest: str
    splits: str


def content_of(winner: Winner) -> str:
    """Return a digest of the training data, the splits, and everything that decides a model version's answers."""
    code = {path.relative_to(ROOT).as_posix(): file_digest(path) for path in _served_code()}
    dossier = Path(winner.dossier)
    return digest(
        weights_digest(winner.model),
        file_digest(dossier / CALIBRATION),
        read_profile(dossier / PROFILE).sample_digest(),
        read_manifest(winner.manifest).digest,
        read_splits(winner.splits).digest,
        code,
        _requirements(),
    )


def save_version(winner: Winner, examples: pd.Series, card: str, scratch: Path) -> Path:
    """Write a model version's files as MLflow stores them, and return their folder."""
    folder = scratch / "version"
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(SERVED_MODEL),
        artifacts=_artifacts(winner, card, scratch),
        code_paths=[str(_copy_served_code(scratch))],
        signature=SIGNATURE,
        input_example=examples.to_frame("image").reset_index(drop=True),
        pip_requirements=_requirements(),
    )
    return folder


def _requirements() -> list[str]:
    return [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS]


def _served_code() -> list[Path]:
    """Return the modules of this project that the served model imports, directly or not."""
    finder = ModuleFinder(path=[str(ROOT)])
    finder.run_script(str(SERVED_MODEL))

    files = []
    for name, module in finder.modules.items():
        if name.partition(".")[0] == "components":
            files.append(Path(vars(module)["__file__"]))
    return sorted(files)


def _copy_served_code(folder: Path) -> Path:
    """Copy the modules that the served model imports. Return the folder of the package `components`."""
    for source in _served_code():
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return folder / "components"


def _artifacts(winner: Winner, card: str, folder: Path) -> dict[str, str]:
    """Return the paths of the model version's artifacts by name. Write new files into `folder`.

    The artifact `training_rows` lists the tiles that the model must not be tested on.
    """
    manifest = read_manifest(winner.manifest)
    splits = read_splits(winner.splits)
    training_rows = pd.concat([rows_of(manifest, splits, split).assign(split=split) for split in TRAINING_SPLITS])
    rows_file = folder / "training_rows.parquet"
    training_rows[["sample_id", "group_id", "split"]].to_parquet(rows_file, index=False)

    dossier = Path(winner.dossier)
    artifacts = {
        "model": Path(winner.model),
        "calibration": dossier / CALIBRATION,
        "training_rows": rows_file,
        "reference_profile": dossier / PROFILE,
        "novelty": _write_novelty(winner, folder),
        **_write_card(card, folder),
    }
    return {name: str(path) for name, path in artifacts.items()}


def _write_novelty(winner: Winner, folder: Path) -> Path:
    """Write the limit for the distance from the training images. Only 1 % of the held-out images exceed this limit."""
    predictions = read_predictions(winner.predictions)
    held_out = np.concatenate([predictions.embeddings_of(split) for split in HELD_OUT_SPLITS])
    reference = read_profile(Path(winner.dossier) / PROFILE)
    file = folder / "novelty.json"
    write_limit(embedding_limit(reference.embeddings, held_out), file)
    return file


def _write_card(card: str, folder: Path) -> dict[str, Path]:
    """Write the model card as Markdown and as a page."""
    markdown = folder / "model_card.md"
    markdown.write_text(card, encoding="utf-8")

    title, _, text = card.removeprefix("# ").partition("\n")
    page = Page(title)
    page.text(text)
    page_file = folder / "model_card.html"
    page.write(page_file)
    return {"model_card": markdown, "model_card_page": page_file}
