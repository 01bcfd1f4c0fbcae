"""The public data sets that the field trains on: where they live, under which licence, and what a full copy holds."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublicDataset:
    """How to get a public data set and to know that it is whole.

    Attributes:
        name: What the pipeline calls the source and its layout.
        doi: Its home; opens in a browser with https://doi.org/ before it.
        licence: SPDX identifier.
        paper: Whom to cite.
        layout: Class folders, as `components/ingest/sources/layouts.py` finds them.
        counts: Files of each class folder.
        size: Width and height of a tile, pixels.
        advice: What to know before training on it.
    """

    name: str
    doi: str
    licence: str
    paper: str
    layout: str
    counts: dict[str, int]
    size: tuple[int, int]
    advice: str


PUBLIC = {
    dataset.name: dataset
    for dataset in (
        PublicDataset(
            name="sdnet2018",
            doi="10.15142/T3TD19",
            licence="CC-BY-4.0",
            paper="Dorafshan, Thomas, Maguire: SDNET2018, Data in Brief 21 (2018) 1664-1668",
            layout="D (bridge deck), P (pavement), W (wall), in each C? cracked and U? uncracked; PHOTO-TILE.jpg",
            counts={"D/CD": 2025, "D/UD": 11595, "P/CP": 2608, "P/UP": 21726, "W/CW": 3851, "W/UW": 14287},
            size=(256, 256),
            advice=(
                "230 photos, 15 % cracked; the photo of a tile is read from its name and never split. "
                "A random tile split puts every test photo into training. 9 % of the cracks of a cleaned part "
                "were filed as uncracked (deck: 18 %)."
            ),
        ),
        PublicDataset(
            name="ccic",
            doi="10.17632/5y9wdsg2zt.2",
            licence="CC-BY-4.0",
            paper="Ozgenel, Gonenc Sorguc: Performance comparison of pretrained CNNs on crack detection, ISARC 2018",
            layout="Positive (cracked), Negative (uncracked)",
            counts={"Positive": 20000, "Negative": 20000},
            size=(227, 227),
            advice=(
                "Names tell no photo, and 12,541 files are near duplicates of another: they are grouped by looks. "
                "Easy: one grey-level statistic reaches AUROC 0.996, so a high score proves little."
            ),
        ),
    )
}


def differences(dataset: PublicDataset, root: Path) -> dict[str, tuple[int, int]]:
    """Compare a copy with what the published set holds.

    Args:
        dataset: The published set.
        root: Folder that holds the class folders.

    Returns:
        Expected and found number of files, for each class folder where the two differ.
    """
    found = Counter({part: sum(path.is_file() for path in (root / part).glob("*")) for part in dataset.counts})
    return {part: (count, found[part]) for part, count in dataset.counts.items() if found[part] != count}
