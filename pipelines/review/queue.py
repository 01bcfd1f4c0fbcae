"""Write a folder with the tiles that people should review: the images, a table, and a page for the answers."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.shared.data.corrections import read_entries, standing_answers
from components.shared.data.image import decode
from components.shared.data.manifest import CLASSES
from components.shared.data.versions import read_images
from components.shared.errors import InputError
from components.shared.hashing import digest
from components.shared.services.store import Store
from pipelines.review.inspected import InspectedTiles
from pipelines.review.page import PageTile, page_jpeg, write_page
from pipelines.review.ranking import NO_INSPECTION, Answers, join_answers, rank
from pipelines.review.run_artifacts import RunArtifacts

TABLE, TILES, PAGE = "queue.csv", "tiles", "review.html"
COLUMNS = ["rank", "tile", "file", "label", "reason", "split", "photo", "path"]
INSPECTION = "inspection"
P_CRACK = "p_crack_"  # start of the columns with a candidate's P(crack); the candidate's name follows
# The name of a tile's file is its sample_id. So we find the tile even if another program adds something to the name.
TILE_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
QUEUE_ID = 12  # number of characters of a queue's name


def make_queue(
    store: Store,
    run: RunArtifacts,
    folder: Path,
    size: int,
    per_photo: int | None = None,
    inspected: InspectedTiles | None = None,
) -> pd.DataFrame:
    """Choose the tiles that people should review, and write the folder of the queue.

    The folder has `tiles/SAMPLE_ID.png` for each tile, `queue.csv` and `review.html`. The folder appears only
    when it is complete.

    Args:
        store: Storage root; it has the tiles, and the answers that people gave before.
        run: The run. The answers of its candidates decide which tiles are chosen.
        folder: Folder to create.
        size: Largest number of tiles.
        per_photo: Largest number of tiles of one photo; see `rank`.
        inspected: Tiles of inspected photos that can also be chosen; None if there are none.

    Returns:
        The content of queue.csv: COLUMNS, and for each candidate a column with its P(crack). If there are tiles of
        inspected photos, another column has the P(crack) of the inspection. Tiles of inspected photos have no label and
        no split.

    Raises:
        InputError: The folder exists and is not empty, no tile is left to review, or the store lacks the tiles.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not an empty folder; give a new folder with --out")

    answers = join_answers(run.candidates)
    known = run.manifest.table.set_index("sample_id", drop=False)
    new = None if inspected is None else inspected.tiles[~inspected.tiles["tile"].isin(known.index)]
    standing = standing_answers(read_entries(store))
    chosen = rank(answers, standing, size, per_photo, NO_INSPECTION if new is None else new)
    if chosen.empty:
        raise InputError(f"people have answered all {len(answers.tiles)} tiles of this run; there is nothing to review")

    facts = _facts(answers, run, new)
    queue = facts.iloc[chosen["row"]].reset_index(drop=True)
    queue = queue.assign(
        rank=np.arange(1, len(queue) + 1),
        file=TILES + "/" + queue["tile"] + ".png",
        reason=chosen["reason"].to_numpy(),
    )[[*COLUMNS, *(name for name in facts.columns if name.startswith(P_CRACK))]]

    manifest = known.loc[queue["tile"][queue["tile"].isin(known.index)]]
    contents = dict(zip(manifest.index, read_images(store, manifest), strict=True))
    _write_folder(queue, contents | ({} if inspected is None else inspected.images), folder)
    return queue


def read_queue(folder: Path) -> pd.DataFrame:
    """Read the queue.csv of a folder; all columns are text.

    Raises:
        InputError: The folder is not the folder of a queue.
    """
    try:
        queue = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} has no {TABLE} ({error}); give a folder that `review queue` wrote") from error
    missing = [name for name in COLUMNS if name not in queue.columns]
    if missing:
        raise InputError(
            f"{folder / TABLE} lacks the columns {', '.join(missing)}; give a folder that `review queue` wrote"
        )
    return queue


def _facts(answers: Answers, run: RunArtifacts, new: pd.DataFrame | None) -> pd.DataFrame:
    """Return the columns of the queue for all tiles: first the tiles of the run, then the tiles of an inspection."""
    tiles = answers.tiles.rename(columns={"sample_id": "tile", "group_id": "photo"})
    paths = run.manifest.table.set_index("sample_id")["path"]
    tiles = tiles.assign(label=tiles["label"].map(dict(enumerate(CLASSES))), path=tiles["tile"].map(paths))
    for number, candidate in enumerate(run.candidates):
        tiles[P_CRACK + candidate.name] = answers.p_crack[:, number].round(4)
    if new is None:
        return tiles

    inspected = new[["tile", "photo", "path"]].assign(label="", split="")
    inspected[P_CRACK + INSPECTION] = new["p_crack"].round(4)
    return pd.concat([tiles, inspected], ignore_index=True)


def _write_folder(queue: pd.DataFrame, contents: dict[str, bytes], folder: Path) -> None:
    """Write the folder under another name, and then rename it. `contents` has the file of each tile."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        (unfinished / TILES).mkdir(parents=True)
        shown = []
        for row in queue.to_dict("records"):
            content = contents[row["tile"]]
            image = decode(content)
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            # A tile without a label is later ingested from this file, so the file keeps the tile's exact bytes.
            png = cv2.imencode(".png", bgr)[1].tobytes() if row["label"] else content
            (unfinished / row["file"]).write_bytes(png)
            shown.append(_page_tile(row, page_jpeg(image)))
        queue.to_csv(unfinished / TABLE, index=False)
        write_page(digest(queue["tile"].tolist())[:QUEUE_ID], shown, unfinished / PAGE)
        unfinished.replace(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; give another folder with --out") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _page_tile(row: dict[str, object], jpeg: bytes) -> PageTile:
    p_cracks = []
    for name, value in row.items():
        if name.startswith(P_CRACK) and not pd.isna(value):
            p_cracks.append(f"{name.removeprefix(P_CRACK)} {value:.2f}")
    where = f"Split {row['split']}, {row['path']}" if row["split"] else str(row["path"])
    facts = f"Reason: {row['reason']}. P(crack): {', '.join(p_cracks)}. {where}"
    return PageTile(str(row["tile"]), jpeg, str(row["label"]), facts)
