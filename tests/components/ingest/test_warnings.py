"""Refused files and files in quarantine are named in a warning and on the page."""

import pandas as pd

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from tests.tiny_version import tile


def test_files_that_are_not_kept_are_named(s3, tmp_path, monkeypatch):
    for label, name in enumerate(("no_crack", "crack")):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        for number in range(30):
            (tmp_path / "tiles" / name / f"{number}.png").write_bytes(tile(label, number))
    (tmp_path / "tiles" / "crack" / "half.png").write_bytes(tile(1, 99)[:2000])
    (tmp_path / "tiles" / "no_crack" / "liar.png").write_bytes(tile(1, 3))
    monkeypatch.setenv("CRACK_EVENTS", str(tmp_path / "events"))
    config = IngestConfig(store=s3, cache=str(tmp_path / "cache"))
    counts = ingest_dataset(str(tmp_path / "tiles"), tmp_path / "m.parquet", tmp_path / "page.html", config).counts
    events = pd.read_json(tmp_path / "events", lines=True)
    refused, quarantined = events.loc[events["event"] == "warning", "message"]

    assert refused.startswith("files refused: 1; the first is crack/half.png: ")
    assert quarantined.startswith("files in quarantine: 2; the first is crack/3.png: the same file has both labels: ")
    assert quarantined.endswith(". The data set report lists all files in quarantine")
    assert counts["images"] == 59
    page = (tmp_path / "page.html").read_text()
    assert "crack/half.png" in page
    assert "no_crack/liar.png" in page
