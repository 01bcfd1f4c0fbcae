"""Does one review round make the inspection of whole photos better? A table, and exit status 1 if it does not.

Someone marked the cracks of drawn photos carelessly: half of the cracks are missing, and each photo has a line that
is not a crack. A small network learns the tiles of these photos. It inspects other photos, whose masks are right.
Then `review queue` chooses 200 tiles of the first photos, an oracle answers them from the right masks, and
`review import` adds the answers. A second run learns the corrected labels, and inspects the other photos again.

- Crack region: the cracks of a mask, joined where the gap is at most 24 pixels. Regions of less than 82 pixels, which
  cannot make a tile a crack, are left out. A region is found if a finding overlaps one of its pixels.
- False finding: a finding that overlaps no pixel of a crack.
- Area in findings: a finding that covers a whole photo finds all of its cracks. This number shows it.

Intervals resample the photos, and the differences resample the same photos before and after.

    make study-review, or: python tests/studies/study_review.py [--photos 20] [FOLDER]

A second call with the same FOLDER continues where the first one ended.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from components.shared.data.annotations.shapes import label_of_share
from components.shared.data.image import decode_mask
from components.shared.data.manifest import CLASSES

PROGRAM = str(Path(sys.executable).with_name("crack-pipeline"))
TILE, QUEUE = 128, 200
SEED_TO_LEARN, SEED_HELD_OUT, SEED_OF_MISTAKES = 1, 2, 3

MISSED_SHARE = 0.5
WRONG_LINE_LENGTH, WRONG_LINE_WIDTH = 1000, 4  # pixels
JOINED_GAP = 24  # pixels
SMALLEST_REGION = 82  # pixels; 0.5 % of a tile
RESAMPLES = 4000

PARAMETERS = """
candidates:
  cnn:
    train:
      architecture: resnet10t
      weights: none
      input_size: 64
      steps: 200
      batch_size: 32
      learning_rate: 2e-3
      label_smoothing: 0.05
      class_balance: sampling
      augment: [{HorizontalFlip: {}}, {VerticalFlip: {}}, {FastColorJitter: {brightness: 0.2, contrast: 0.2, p: 0.8}}]
      precision: fp32
split: {val: 0.2, leak_sample: 0}
predict: {train_sample: 20000, corruptions: {max_images: 0}, precision: fp32}
evaluate: {resamples: 200}
explain: {shown: 4, measured: 4, chosen_on: 2, exchanged: 8, road: [80.0], shap: {regions: 16, coalitions: 32}}
drift: {evidently: false}
gate: {limits: [{name: accuracy, limit: 0.01}]}
"""
MEASURES = {
    "recall of crack regions": ("found", "regions"),
    "false findings per photo": ("false", "photos"),
    "area in findings": ("covered", "area"),
}


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, help="default: a temporary folder")
    parser.add_argument("--photos", type=int, default=20, help="number to learn, and number to inspect")
    given = parser.parse_args()
    if given.folder is not None:
        sys.exit(study(given.folder.resolve(), given.photos))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(study(Path(folder), given.photos))


def study(folder: Path, photos: int) -> int:
    """Run the study in a folder, and return the exit status. Parts that are finished are not repeated."""
    started = time.monotonic()
    draw(folder / "right", photos, SEED_TO_LEARN)
    draw(folder / "held_out", photos, SEED_HELD_OUT)
    mark_carelessly(folder / "right", folder / "careless")
    params = folder / "params.yaml"
    params.write_text(PARAMETERS, encoding="utf-8")

    before = learn_and_inspect(folder, params, "before")
    answers = folder / "answers.csv"
    if not answers.exists():
        in_workdir(folder, "review", "queue", "--out", folder / "queue", "--size", QUEUE, "--params", params)
        answer_queue(folder / "queue" / "queue.csv", folder / "right" / "masks", answers)
        why = ("--by", "the oracle", "--why", "one review round")
        in_workdir(folder, "review", "import", answers, *why, "--params", params)
    after = learn_and_inspect(folder, params, "after")

    show(before, after, pd.read_csv(answers), time.monotonic() - started)
    recall, false_findings, _ = differences(before, after)
    return int(recall[0] < 0 or false_findings[0] > 0 or recall[0] == false_findings[0] == 0)


def crack_pipeline(*arguments: object) -> None:
    """Run a command of the project, and stop where it fails."""
    subprocess.run([PROGRAM, *map(str, arguments)], check=True)


def in_workdir(folder: Path, *arguments: object) -> None:
    """Run a command of the project on the workdir of the study."""
    crack_pipeline(*arguments, "--workdir", folder / "workdir")


def draw(folder: Path, photos: int, seed: int) -> None:
    """Draw photos with masks, if they are not there."""
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        crack_pipeline("datasets", "--draw-photos", photos, unfinished, "--seed", seed)
        unfinished.rename(folder)


def mark_carelessly(right: Path, careless: Path) -> None:
    """Write a copy of the photos with masks as a careless person draws them."""
    if careless.exists():
        return
    rng = np.random.default_rng(SEED_OF_MISTAKES)
    unfinished = careless.with_name(f".{careless.name}.{os.getpid()}")
    (unfinished / "masks").mkdir(parents=True)
    for photo in sorted(right.glob("*.jpg")):
        mask = read_mask(right / "masks" / f"{photo.stem}.png")
        drawn = np.zeros(mask.shape, np.uint8)
        regions, number = crack_regions(mask)
        for region in range(1, number + 1):
            if rng.random() >= MISSED_SHARE:
                drawn[regions == region] = 255

        middle = rng.uniform(0.2, 0.8, 2) * mask.shape[::-1]
        angle = rng.uniform(0, np.pi)
        half = WRONG_LINE_LENGTH / 2 * np.array([np.cos(angle), np.sin(angle)])
        ends = np.rint([middle - half, middle + half]).astype(int).tolist()
        cv2.line(drawn, ends[0], ends[1], 255, WRONG_LINE_WIDTH)

        cv2.imwrite(str(unfinished / "masks" / f"{photo.stem}.png"), drawn)
        os.link(photo, unfinished / photo.name)
    unfinished.rename(careless)


def read_mask(path: Path) -> np.ndarray:
    """Return a mask, bool (height, width)."""
    return decode_mask(path.read_bytes())


def crack_regions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the crack regions of a mask, numbered from 1, int (height, width), 0 elsewhere; and how many there are."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (JOINED_GAP + 1, JOINED_GAP + 1))
    number, joined = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), kernel))
    joined[~mask] = 0
    sizes = np.bincount(joined.ravel(), minlength=number)
    large = [region for region in range(1, number) if sizes[region] >= SMALLEST_REGION]

    renumbered = np.zeros(number, int)
    renumbered[large] = np.arange(1, len(large) + 1)
    return renumbered[joined], len(large)


def learn_and_inspect(folder: Path, params: Path, name: str) -> pd.DataFrame:
    """Train a network, inspect the photos that were held out, and return the counts of each photo."""
    out = folder / name
    if not (out / "findings.csv").exists():
        data = f"{folder / 'careless'}?layout=photos&tile={TILE}"
        in_workdir(folder, "run-local", "--params", params, "--data", data)
        shutil.copy(folder / "workdir" / "report.html", folder / f"report_{name}.html")
        model = ("--model", "models:/crack-classifier@challenger")
        in_workdir(folder, "inspect", folder / "held_out", "--out", out, *model)
    return count(out / "findings.csv", folder / "held_out")


def answer_queue(queue: Path, masks: Path, answers: Path) -> None:
    """Answer the tiles of a queue from the right masks."""
    rows = []
    for row in pd.read_csv(queue).to_dict("records"):
        photo, _, corner = row["path"].removesuffix(".png").rpartition("@")
        left, top = map(int, corner.split(","))
        mask = read_mask(masks / f"{Path(photo).stem}.png")
        label = label_of_share(float(mask[top : top + TILE, left : left + TILE].mean()))
        answer = "unsure" if label is None else CLASSES[label]
        rows.append({"tile": row["tile"], "answer": answer, "label": row["label"]})
    with answers.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["tile", "answer", "label"])
        table.writeheader()
        table.writerows(rows)


def count(findings: Path, photos: Path) -> pd.DataFrame:
    """Return one row for each photo: regions, found, false, covered, area, findings and photos (1)."""
    table = pd.read_csv(findings)
    table = table[table["triage"] == "crack"]
    rows = []
    for photo in sorted(photos.glob("*.jpg")):
        mask = read_mask(photos / "masks" / f"{photo.stem}.png")
        regions, number = crack_regions(mask)
        covered = np.zeros(mask.shape, np.uint8)
        false = 0
        polygons = table.loc[table["photo"].map(lambda path, name=photo.name: Path(path).name == name), "polygon_px"]
        for polygon in polygons:
            inside = drawn_polygon(polygon, mask.shape)
            false += not (mask & (inside > 0)).any()
            covered |= inside

        found = len(set(np.unique(regions[covered > 0])) - {0})
        sums = {"covered": int(covered.sum()), "area": mask.size, "findings": len(polygons), "photos": 1}
        rows.append({"regions": number, "found": found, "false": false, **sums})
    return pd.DataFrame(rows)


def drawn_polygon(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside a polygon in the form `POLYGON ((x y, …))`, uint8 (height, width), 0 or 1."""
    corners = []
    for corner in text.removeprefix("POLYGON ((").removesuffix("))").split(", "):
        corners.append([float(number) for number in corner.split()])
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(corners).astype(np.int32)], 1)
    return drawn


def resampled(counts: pd.DataFrame, over: str, under: str) -> np.ndarray:
    """Return the ratio of two sums in draws of the photos, float (RESAMPLES,). The draws are always the same."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(counts), (RESAMPLES, len(counts)))
    return counts[over].to_numpy()[chosen].sum(axis=1) / np.maximum(counts[under].to_numpy()[chosen].sum(axis=1), 1)


def differences(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Return for each measure the difference after minus before, and the ends of its 95 % interval."""
    found = []
    for over, under in MEASURES.values():
        difference = after[over].sum() / after[under].sum() - before[over].sum() / before[under].sum()
        low, high = np.percentile(resampled(after, over, under) - resampled(before, over, under), [2.5, 97.5])
        found.append((float(difference), float(low), float(high)))
    return found


def show(before: pd.DataFrame, after: pd.DataFrame, answers: pd.DataFrame, seconds: float) -> None:
    """Print the table."""
    table = Table("what", "before", "after", "difference")
    for (what, (over, under)), change in zip(MEASURES.items(), differences(before, after), strict=True):
        cells = []
        for counts in (before, after):
            value = counts[over].sum() / counts[under].sum()
            low, high = np.percentile(resampled(counts, over, under), [2.5, 97.5])
            cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
        table.add_row(what, *cells, "{:+.3f} [{:+.3f}, {:+.3f}]".format(*change))

    wrong = ((answers["answer"] != answers["label"]) & (answers["answer"] != "unsure")).sum()
    table.caption = (
        f"{len(before)} photos with {before['regions'].sum()} crack regions; of {len(answers)} tiles in the queue, "
        f"{wrong} had a wrong label; {before['findings'].sum()} findings before, {after['findings'].sum()} after; "
        f"{seconds:.0f} s in this call, load {os.getloadavg()[0]:.0f}"
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
