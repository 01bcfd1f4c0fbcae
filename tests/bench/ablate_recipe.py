"""What each part of prod.yaml's recipe is worth: we change one part of the training, and train with several seeds.

    python tests/bench/ablate_recipe.py TILES --photo '^([A-Z]+[0-9]+)' [--start FOLDER]

TILES holds `crack/` and `no_crack/`, or `Positive/` and `Negative/`, as JPEG. Without `--photo`, TILES must not
contain near duplicates. Each seed gives another random split of the photos into train, val and test, another head and
another order of the tiles. All variants with one seed have the same split, head and order, so a variant is judged by
its difference from the unchanged recipe. In train and val, at most 15 % of the tiles are cracks, as in SDNET2018.
Test keeps all tiles.

We train small networks instead of those in prod.yaml. If ImageNet's weights cannot be downloaded, train on other tiles
first: `--save FOLDER` saves weights, and `--start FOLDER` starts the next call from them. Results that are already in
the output file are not computed again, so a call that was stopped can continue.
"""

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

from components.shared.data.shards import Member, write_shards
from components.shared.network.saved_network import WEIGHTS, load_network
from components.shared.network.tiles import TileDataset, loader
from components.train.config import PAPER_AUGMENTATION, TrainConfig
from components.train.dry_run import describe_network
from components.train.fit import fit
from components.train.task import Task
from pipelines.config.parameter_file import load_run_config

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"no_crack": 0, "Negative": 0, "crack": 1, "Positive": 1}
SHARE_OF_CRACKS = 0.15  # as in SDNET2018
TEST_SHARE = 0.30
VAL_SHARE = 0.15
# The small network that is trained in place of a candidate of prod.yaml.
SMALL_NETWORK = {"resnet50": "resnet18", "vit_b16": "vit_tiny_patch16_224"}
SHORT_TRAINING = {
    "epochs": None,
    "batch_size": 32,
    "patience": None,
    "val_check_interval": 0.1,
    "require_gpu": False,
    "workers": 0,
    "devices": 1,
}
UNCHANGED = "unchanged"
# The variant that changes everything: the recipe of that file.
PAPER = "paper.yaml"
COMMON: dict[str, dict[str, Any]] = {
    UNCHANGED: {},
    "class weights": {"class_balance": "weights"},
    "balanced sampling": {"class_balance": "sampling"},
    "averaged weights": {"ema": 0.998},
    "no label smoothing": {"label_smoothing": 0.0},
    "constant rate, no warm-up": {"schedule": "constant", "warmup": 0.0},
    "no flips": {"augment": PAPER_AUGMENTATION},
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "resnet50": {**COMMON, "twice the rate": {"learning_rate": 6e-4}, PAPER: {}},
    "vit_b16": {
        **COMMON,
        "twice the rate": {"learning_rate": 2e-4},
        "no layer decay": {"layer_decay": 1.0},
        "no stochastic depth": {"stochastic_depth": 0.0},
        PAPER: {},
    },
}


def read_tiles(folder: Path, photo: str | None, version: Path) -> pd.DataFrame:
    """Pack a folder's tiles into shards in the folder `version`; return manifest rows with the photo of each tile."""
    paths = sorted(path for name in LABELS for path in folder.glob(f"{name}/*.jpg"))
    names = [f"{path.parent.name}-{path.name}" for path in paths]

    members = (Member(name, path.read_bytes(), ".jpg") for name, path in zip(names, paths, strict=True))
    places = write_shards(members, version / "shards")
    labels = [LABELS[path.parent.name] for path in paths]
    photos = []
    for path, name in zip(paths, names, strict=True):
        match = re.search(photo, path.name) if photo else None
        photos.append(match[1] if match else name)
    return pd.DataFrame(place.__dict__ for place in places).assign(label=labels, photo=photos)


def split(rows: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Split the photos at random. In val and train, remove random cracks until at most 15 % of the tiles are cracks."""
    rng = np.random.default_rng(seed)
    photos = rng.permutation(rows["photo"].unique())
    ends = (np.array([TEST_SHARE, TEST_SHARE + VAL_SHARE]) * len(photos)).astype(int)
    test, val, train = np.split(photos, ends)

    parts = {}
    for name, photos_of_part in (("test", test), ("val", val), ("train", train)):
        parts[name] = rows[rows["photo"].isin(photos_of_part)]

    for name in ("val", "train"):
        cracks = parts[name]["label"] == 1
        crack_per_other = SHARE_OF_CRACKS / (1 - SHARE_OF_CRACKS)
        wanted = min(int(cracks.sum()), round((~cracks).sum() * crack_per_other))
        kept = rng.choice(np.flatnonzero(cracks), wanted, replace=False)
        parts[name] = parts[name].iloc[np.sort(np.concatenate([np.flatnonzero(~cracks), kept]))]
    return parts


def recipe(candidate: str, variant: str, weights: str, steps: int, size: int) -> TrainConfig:
    """Return a variant of a candidate's training in prod.yaml or paper.yaml, with a small network and few steps."""
    file = PAPER if variant == PAPER else "prod.yaml"
    train = load_run_config(ROOT / "pipelines/params" / file).candidates[candidate].train
    values = {
        **train.model_dump(mode="json"),
        **SHORT_TRAINING,
        "architecture": SMALL_NETWORK[candidate],
        "steps": steps,
        "weights": weights,
        "input_size": size,
    }
    for name, value in VARIANTS[candidate][variant].items():
        if isinstance(value, dict):
            values[name] = {**values[name], **value}
        else:
            values[name] = value
    return TrainConfig.model_validate_json(json.dumps(values))


def judge(folder: Path, rows: pd.DataFrame, tiles: Path) -> dict[str, float]:
    """Return AUROC and loss (nats, both classes with equal weight) of a saved model on the test photos."""
    network = load_network(folder)
    data = TileDataset(rows, tiles, network.resize)
    with torch.inference_mode():
        logits = torch.cat([network(images) for images, _ in loader(data, 64, 0)])

    p_crack = logits.softmax(1)[:, 1].double().numpy()
    labels = rows["label"].to_numpy()
    weights = compute_sample_weight("balanced", labels)
    return {
        "auroc": float(roc_auc_score(labels, p_crack)),
        "loss": float(log_loss(labels, p_crack, sample_weight=weights)),
    }


def train(config: TrainConfig, parts: dict[str, pd.DataFrame], tiles: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Train once; return the test results and the validation losses."""
    task = Task(describe_network(config, seed), parts["train"], parts["val"], tiles, config, seed)
    record = fit(task, folder)
    return {
        **judge(folder, parts["test"], tiles),
        "best_step": record.best_step,
        "seconds": round(record.training_seconds, 1),
        "val_loss": [round(point["val_loss"], 4) for point in record.history],
    }


def show(results: list[dict[str, Any]]) -> None:
    """Print every variant's mean AUROC and loss, and its differences from the unchanged recipe: mean, and per seed."""
    for candidate, rows in pd.DataFrame(results).groupby("candidate", sort=False):
        print(f"{candidate} ({SMALL_NETWORK[str(candidate)]}), {rows['seed'].nunique()} seeds")
        for measure in ("auroc", "loss"):
            table = rows.pivot(index="seed", columns="variant", values=measure)[list(rows["variant"].unique())]
            change = table.sub(table[UNCHANGED], axis=0)
            for variant in table:
                each = " ".join(f"{value:+.3f}" for value in change[variant].dropna())
                print(f"  {measure:5} {variant:32} {table[variant].mean():.3f} {change[variant].mean():+.3f} ({each})")


def plans(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Yield candidate, seed and variant of every training that the options ask for."""
    for seed in options.seeds:
        for candidate in options.candidates:
            for variant in VARIANTS[candidate]:
                if not options.variants or variant in options.variants:
                    yield candidate, seed, variant


def main() -> None:
    """Run the trainings whose results are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--photo", help="regular expression for the file's name, whose group is the photo")
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    parser.add_argument("--start", type=Path, help="folder with CANDIDATE.safetensors, written by --save")
    parser.add_argument("--save", type=Path, help="folder for the weights of the last training")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--candidates", nargs="+", default=list(SMALL_NETWORK), choices=list(SMALL_NETWORK))
    parser.add_argument("--variants", nargs="+", default=[])
    options = parser.parse_args()

    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(result["candidate"], result["seed"], result["variant"]) for result in known}

    with tempfile.TemporaryDirectory() as scratch:
        tiles = Path(scratch) / "version"
        rows = read_tiles(options.tiles, options.photo, tiles)
        for candidate, seed, variant in plans(options):
            if (candidate, seed, variant) in done:
                continue
            weights = str(options.start / f"{candidate}.safetensors") if options.start else "none"
            folder = Path(scratch) / "model"
            config = recipe(candidate, variant, weights, options.steps, options.size)
            found = train(config, split(rows, seed), tiles, seed, folder)
            known.append({"candidate": candidate, "seed": seed, "variant": variant, **found})
            with options.out.open("a") as file:
                file.write(json.dumps(known[-1]) + "\n")
            if options.save:
                options.save.mkdir(exist_ok=True)
                shutil.copyfile(folder / WEIGHTS, options.save / f"{candidate}.safetensors")
    show(known)


if __name__ == "__main__":
    main()
