"""Are groups from the order of the files photos or parts of photos? Exit status 1 if too many are not.

Synthetic tiles are numbered photo by photo, in the order in which they were drawn, and by surface, so that photos of
similar concrete are neighbours. Then the numbers are random. A folder of real tiles whose names say the photo can be
given too: the pattern's first group matches the photo.

    make simulate, or: python tests/simulate/simulate_file_order.py [FOLDER PATTERN]
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.file_order import MAX_WRONG_SHARE, folder_orders
from components.ingest.sources.synthetic import draw_dataset
from components.ingest.thumbnails import blank
from components.shared.data.manifest import CLASSES

TILES, SIDE, SEED = 1500, 64, 1
COLUMNS = ["tiles", "photos", "test", "joined", "of one photo", "groups", "with two photos or more"]


def main() -> None:
    """Measure each order and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, help="folder of real tiles with class folders")
    parser.add_argument("pattern", nargs="?", help="regular expression; its first group matches the photo in a path")
    given = parser.parse_args()

    table = Table("order", *COLUMNS)
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(Path(folder))
    for name, files in orders_of(drawn).items():
        wrong |= measure(table, name, files)
    if given.folder is not None:
        wrong |= measure(table, given.folder.name, read(given.folder, given.pattern))
    Console(width=140).print(table)
    sys.exit(int(wrong))


def draw(folder: Path) -> pd.DataFrame:
    """Draw tiles, and return what ingestion measures in them, with the columns label, photo and surface."""
    rows = []
    for tile in draw_dataset(TILES, SEED, SIDE):
        cv2.imwrite(str(folder / f"{tile.name}.jpg"), tile.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        rows.append((f"{tile.name}.jpg", CLASSES[tile.label], tile.group, tile.surface))
    return examined(pd.DataFrame(rows, columns=["path", "label", "photo", "surface"]), folder)


def read(folder: Path, pattern: str) -> pd.DataFrame:
    """Return what ingestion measures in real tiles, with the column photo. The order is that of their names."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.glob("*crack/*.*"))
    photos = [re.search(pattern, path)[1] for path in paths]
    return examined(pd.DataFrame({"path": paths, "photo": photos}), folder)


def examined(files: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return a table with what ingestion finds in its files."""
    found = examine(files.assign(mask=None), folder, blank(len(files)), IngestConfig(store="s3://none", overlap=None))
    return files.join(found)


def orders_of(drawn: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Number the tiles of each class in several orders."""
    orders = {
        "photo by photo": drawn,
        "photo by photo, by surface": drawn.sort_values("surface", kind="stable"),
        "random": drawn.sample(frac=1, random_state=0),
    }
    for name, files in orders.items():
        numbers = np.arange(len(files)).astype(str)
        orders[name] = files.assign(path=files["label"] + "/" + numbers + ".jpg").reset_index(drop=True)
    return orders


def measure(table: Table, name: str, files: pd.DataFrame) -> bool:
    """Add a row for each folder. Return True if more groups than promised have tiles of several photos."""
    wrong = False
    hidden = files.assign(source="s", photo=None)
    for order in folder_orders(hidden, np.zeros((0, 2), np.int64)):
        photos = files["photo"].to_numpy()[order.tiles]
        same = photos[1:] == photos[:-1]
        joined = order.joined & order.runs_by_photo
        group = np.concatenate([[0], np.cumsum(~joined)])
        by_group = pd.Series(photos).groupby(group)
        several = by_group.nunique()[by_group.size() > 1]
        wrong |= (several > 1).sum() > MAX_WRONG_SHARE * max(len(several), 1)

        found = f"{joined.mean():.0%}", f"{joined[same].mean():.0%}" if same.any() else "-"
        counts = str(len(several)), str((several > 1).sum())
        test = f"{order.ratio:.2f}, p = {order.p:.3f}"
        table.add_row(f"{name}: {order.folder}", str(len(photos)), str(len(set(photos))), test, *found, *counts)
    return wrong


if __name__ == "__main__":
    main()
