"""Describe public data sets of concrete cracks: their home pages, licences, and the files of a complete download."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublicDataset:
    """A public data set: its home page, its licence, and the contents of a complete download.

    Attributes:
        name: Name of the source and of its layout in the pipeline.
        doi: Digital object identifier; https://doi.org/DOI opens the data set's page.
        licence: SPDX identifier.
        paper: Publication to cite.
        layout: Description of the class folders that `components/ingest/sources/layouts.py` finds.
        counts: Number of files in each class folder.
        size: Width and height of a tile, pixels.
        advice: Facts that the user should know before training on the data set.
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
            layout="folders D (bridge deck), P (pavement), W (wall); in each, C… cracked, U… uncracked; PHOTO-TILE.jpg",
            counts={"D/CD": 2025, "D/UD": 11595, "P/CP": 2608, "P/UP": 21726, "W/CW": 3851, "W/UW": 14287},
            size=(256, 256),
            advice=(
                "230 photos; 15 % of the tiles have a crack. The file name gives the photo, so all tiles of a photo "
                "stay in one split. A random split of tiles would put every test photo into training. In a part that "
                "was checked, 9 % of the cracks were labelled as uncracked (deck: 18 %)."
            ),
        ),
        PublicDataset(
            name="ccic",
            doi="10.17632/5y9wdsg2zt.2",
            licence="CC-BY-4.0",
            paper="Ozgenel, Gonenc Sorguc: Performance comparison of pretrained CNNs on crack detection, ISARC 2018",
            layout="folders Positive (cracked), Negative (uncracked)",
            counts={"Positive": 20000, "Negative": 20000},
            size=(227, 227),
            advice=(
                "File names do not give the photo, and 12,541 files are near duplicates of another file. Tiles are "
                "therefore grouped by similarity. The data set is easy: one grey-level statistic reaches AUROC 0.996, "
                "so a high score proves little."
            ),
        ),
    )
}


def differences(dataset: PublicDataset, root: Path) -> dict[str, tuple[int, int]]:
    """Compare a download with the published data set.

    Args:
        dataset: The published data set.
        root: Folder that contains the class folders.

    Returns:
        The expected and the found number of files, for each class folder in which the two numbers differ.
    """
    different = {}
    for folder, expected in dataset.counts.items():
        found = sum(path.is_file() for path in (root / folder).glob("*"))
        if found != expected:
            different[folder] = (expected, found)
    return different
