"""Show the tiles of sound concrete with a high P(crack). Such a tile may have a crack in spite of its label."""

import pandas as pd

from components.gate.champion_comparison import Deployed
from components.gate.page import THUMBNAIL_PIXELS, ReadTiles
from components.shared.data.image import decode, thumbnail
from components.shared.events import warn
from components.shared.page import CellImage, Page
from components.shared.results.dossier import PROMOTION
from components.shared.results.false_alarms import sound_sources

CERTAIN = 0.9  # calibrated P(crack)
HEADING = "Sound concrete that looks cracked"


def certain_alarms(candidate: Deployed, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the tiles of sound concrete that the candidate calls a crack with a P(crack) of at least CERTAIN.

    The tiles come from all splits, but only a sample of the training tiles has predictions.

    Args:
        candidate: The candidate's predictions and calibration.
        manifest: The table of the data set version's manifest.

    Returns:
        The columns sample_id, source, split, path and p_crack (calibrated). The highest P(crack) is first.
    """
    tiles = candidate.predictions.embedded()
    tiles = tiles[tiles["source"].isin(sound_sources(manifest))]
    p_crack = candidate.calibration.p_crack(tiles["logit_0"].to_numpy(), tiles["logit_1"].to_numpy())
    tiles = tiles[["sample_id", "source", "split"]].assign(p_crack=p_crack)

    certain = tiles[p_crack >= max(CERTAIN, candidate.calibration.threshold)]
    paths = manifest.set_index("sample_id")["path"]
    certain = certain.assign(path=certain["sample_id"].map(paths))
    return certain.sort_values("p_crack", ascending=False, kind="stable")


def show_certain_alarms(page: Page, alarms: pd.DataFrame, read_tiles: ReadTiles, shown: int) -> None:
    """Append the tiles as images to the page, and warn the user. If there are no such tiles, do nothing.

    Args:
        page: The page.
        alarms: The tiles, from `certain_alarms`.
        read_tiles: Function that takes sample_ids and returns the tiles' files; see `promotion_page`.
        shown: Largest number of tiles to show.
    """
    if alarms.empty:
        return
    first = alarms.iloc[0]
    warn(
        f"tiles that may have a crack, although their source is sound concrete: {len(alarms)}; the first is "
        f"{first['path']} of {first['source']} with P(crack) {first['p_crack']:.3f}; look at them. Unless "
        f"gate.wrong_tiles is 0, {PROMOTION} shows them"
    )
    if not shown:
        return

    page.heading(HEADING)
    certain = alarms.head(shown)
    page.text(
        f"In their sources, no tile has the label crack, but P(crack) of {len(alarms)} tiles is at least {CERTAIN:g}. "
        f"The {len(certain)} tiles with the highest P(crack) are shown. Look at them: if a tile has a crack, remove it "
        "from its source, because the network learns from the wrong label."
    )
    files = read_tiles(certain["sample_id"].tolist())
    rows = []
    for tile in certain.itertuples():
        image = thumbnail(decode(files.at[tile.sample_id, "data"]), THUMBNAIL_PIXELS)
        rows.append([CellImage(image, f"tile {tile.path}"), tile.path, tile.source, tile.split, f"{tile.p_crack:.3f}"])
    page.table(["tile", "file", "source", "split", "P(crack)"], rows)
