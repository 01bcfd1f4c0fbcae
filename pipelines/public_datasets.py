"""Describe public data sets of concrete cracks: their home pages, licences, and the files of a complete download."""

from collections import Counter
from dataclasses import dataclass

from components.ingest.sources.layouts import Layout
from components.shared.data.folder_listing import files_in


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
            layout=(
                "folders D (bridge deck), P (pavement), W (wall); each with C… cracked, U… uncracked; PHOTO-TILE.jpg. "
                "Copies of the set call these folders Decks, Pavements and Walls; each has Cracked and Non-cracked"
            ),
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
            layout="folders Positive (cracked) and Negative (uncracked), also in lower case",
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


def differences(dataset: PublicDataset, layout: Layout) -> dict[str, tuple[int, int]]:
    """Compare a download with the published data set.

    Args:
        dataset: The published data set.
        layout: The layout of the download. Its class folders can have other names than the published ones.

    Returns:
        Class folder -> (expected, found) number of files, for each class folder in which the two numbers differ.
    """
    found: Counter[str] = Counter()
    for folder in layout.folders:
        found[folder.published] += sum((layout.root / path).is_file() for path in files_in(layout.root, folder.path))

    different = {}
    for folder_name, expected in dataset.counts.items():
        if found[folder_name] != expected:
            different[folder_name] = (expected, found[folder_name])
    return different
