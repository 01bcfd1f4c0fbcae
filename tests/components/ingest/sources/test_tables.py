"""Tables as spreadsheets write them. A clear table is read, and we say how. An unclear table is refused."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from components.ingest.sources.source_listing import Listing
from components.ingest.sources.tables import read_table
from components.shared.errors import InputError

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Brücke.jpg") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "c d.jpg", "deck/e.jpg", "deck/f,g.jpg", "Wände.jpg", DECOMPOSED):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder: Path, content: str | bytes, name: str = "tiles.csv") -> Listing:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_table(folder / name)


def labels(found: Listing) -> dict[str, int]:
    return dict(zip(found.files["path"], found.files["label"], strict=True))


PLAIN = "path,label\na.jpg,1\nWände.jpg,0\n"
SEMICOLONS = PLAIN.replace(",", ";")
ROWS_END_IN_SEMICOLONS = SEMICOLONS.replace("1\n", "1;\n").replace("0\n", "0;\n")


@pytest.mark.parametrize(
    ("content", "understood"),
    [
        (PLAIN, []),
        ("\ufeff" + PLAIN, []),
        ("\n\r\n" + PLAIN, []),
        (PLAIN.replace("\n", "\r\n"), []),
        (SEMICOLONS, ["the table is UTF-8 text with semicolons between the columns"]),
        (PLAIN.replace(",", "\t"), ["the table is UTF-8 text with tabs between the columns"]),
        ("sep=;\r\n" + SEMICOLONS, ["the table is UTF-8 text with semicolons between the columns"]),
        (PLAIN.encode("utf-16"), ["the table is UTF-16 text with commas between the columns"]),
        (SEMICOLONS.encode("utf-16-le"), ["the table is UTF-16 text with semicolons between the columns"]),
        (SEMICOLONS.replace("\n", ";\n"), ["the table is UTF-8 text with semicolons between the columns"]),
        (SEMICOLONS + ";\n;\n", ["the table is UTF-8 text with semicolons between the columns"]),
        (SEMICOLONS.replace("\n", ";;\n") + ";;;\n", ["the table is UTF-8 text with semicolons between the columns"]),
        (ROWS_END_IN_SEMICOLONS, ["the table is UTF-8 text with semicolons between the columns"]),
        (
            ROWS_END_IN_SEMICOLONS.replace("\n", "\r\n"),
            ["the table is UTF-8 text with semicolons between the columns"],
        ),
        (
            "path;label\nWände.jpg;0\na.jpg;1;;\n;;;;\n",
            ["the table is UTF-8 text with semicolons between the columns"],
        ),
        (PLAIN.encode("latin-1"), ["the table is Latin-1 text with commas between the columns"]),
    ],
)
def test_encodings_and_separators(folder: Path, content: str | bytes, understood: list[str]) -> None:
    found = read(folder, content)
    assert labels(found) == {"a.jpg": 1, "Wände.jpg": 0}
    assert found.understood == understood


@pytest.mark.parametrize(
    ("crack", "no_crack"),
    [
        *(("Crack", "No crack"), ("CRACKED", "Non-cracked"), ("1.0", "0.0"), ("1,0", "0,0"), ("1.", "0.")),
        *(("yes", "no"), ("TRUE", "FALSE"), ("Positive", "Negative"), (" 1 ", " 0 ")),
    ],
)
def test_labels_have_many_names(folder: Path, crack: str, no_crack: str) -> None:
    found = read(folder, f"path;label\na.jpg;{crack}\nb.jpg;{no_crack}\n")
    assert labels(found) == {"a.jpg": 1, "b.jpg": 0}
    if crack.strip() != "1":
        expected = sorted([f"{crack} as crack (1)", f"{no_crack} as no_crack (1)"])
        assert found.understood[1] == f"the labels are read as follows: {', '.join(expected)}"


@pytest.mark.parametrize("values", [[True, False], [1.0, 0.0], ["Crack", "no"]])
def test_labels_of_parquet_files_have_types(folder: Path, values: list) -> None:
    pd.DataFrame({"Path": ["a.jpg", "b.jpg"], "Label": values}).to_parquet(folder / "tiles.parquet")
    found = read_table(folder / "tiles.parquet")
    assert labels(found) == {"a.jpg": 1, "b.jpg": 0}
    assert found.understood[0] == "these columns are read under other names: Path as path, Label as label"


@pytest.mark.parametrize(
    ("header", "first", "second", "said"),
    [
        (",Path,Label", "0,a.jpg,1", "1,b.jpg,0", "'Unnamed: 0' is ignored, because it only numbers the rows"),
        ("path,label", "0,a.jpg,1", "1,b.jpg,0", "'Unnamed: 0' is ignored, because it only numbers the rows"),
        ("index,file_name,class", "1,a.jpg,1", "2,b.jpg,0", "'index' is ignored"),
        ("Nr.,Image Path,Label", "1,a.jpg,1", "2,b.jpg,0", "'Nr.' is ignored"),
        ("File,LABEL", "a.jpg,1", "b.jpg,0", "File as path, LABEL as label"),
    ],
)
def test_columns_have_many_names_and_an_index_is_ignored(
    folder: Path, header: str, first: str, second: str, said: str
) -> None:
    found = read(folder, f"{header}\n{first}\n{second}\n")
    assert labels(found) == {"a.jpg": 1, "b.jpg": 0}
    assert said in " ".join(found.understood)


def test_paths_of_windows_quotes_and_accents(folder: Path) -> None:
    found = read(folder, f'path,label\ndeck\\e.jpg,1\n"deck\\f,g.jpg",0\n.\\c d.jpg,1\n{COMPOSED},0\n')
    assert labels(found) == {"deck/e.jpg": 1, "deck/f,g.jpg": 0, "c d.jpg": 1, DECOMPOSED: 0}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label;group\na.jpg,1;x\n", "lacks the columns label; has the unknown columns label;group"),
        ("file,path,label\na.jpg,b.jpg,1\n", "both columns 'file' and 'path' can be the path; delete or rename one"),
        ("path,label,class\na.jpg,1,0\n", "both columns 'label' and 'class' can be the label"),
        ("path,label\na.jpg,3\n", r"row 1 \(a.jpg\): the label is '3'; it must be one of 0, 1, no_crack, crack, or a"),
        ("path,label\na.jpg,1.5\n", "the label is '1.5'"),
        ("path,label\na.jpg,maybe\n", "the label is 'maybe'"),
        ("path,label\n,\na.jpg,3\n", r"row 2 \(a.jpg\): the label is '3'"),
        ("path,label,\na.jpg,1,why\n", "has the unknown columns Unnamed: 2"),
        ("path,label\na.jpg,1,why\n", "has the unknown columns Unnamed: 2"),
        ("path,label\n7,a.jpg,1\n9,b.jpg,0\n", "has the unknown columns Unnamed: 2"),
        (f"path,label\na.jpg,{'1' * 200_000}\n", "cannot be read as a table: field larger than"),
        (",\n", "lacks the columns path, label"),
        ("path,label\n,\n", "has no rows"),
        ("id,path,label\n7,a.jpg,1\n9,b.jpg,0\n", "has the unknown columns id"),
        ('"path,label;x","path;label,x"\na.jpg,1\n', "lacks the columns path, label"),
        (b"path,label\n\x81\x8d.jpg,1\n", "cannot be read as a table"),
    ],
)
def test_what_is_not_clear_is_refused(folder: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(folder, content)


def test_cracks_without_a_mask_are_reported_if_others_have_one(folder: Path) -> None:
    found = read(folder, "path,label,mask\na.jpg,1,b.jpg\nc d.jpg,1,\ndeck\\e.jpg,0,\n")
    assert found.warnings == ["images of class crack without a mask, although others have one: 1, such as c d.jpg"]


def test_a_header_with_two_readings_is_refused_with_both(folder: Path) -> None:
    with pytest.raises(InputError, match="can be split at commas or semicolons, and each way gives the columns path"):
        read(folder, "path,label,x;path;label\na.jpg,1,x;a.jpg;1\n")


def test_a_path_with_two_readings_is_refused_with_both(folder: Path) -> None:
    (folder / "deck\\e.jpg").write_bytes(b"y")
    with pytest.raises(InputError, match=r"row 1: the path can mean two files, deck\\e.jpg and deck/e.jpg; rename one"):
        read(folder, "path,label\ndeck\\e.jpg,1\n")
