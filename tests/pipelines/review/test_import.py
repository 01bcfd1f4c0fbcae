"""Answers in the store: what an import adds, refuses and names, and what a rollback takes back."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.shared.data.corrections import Entry, read_entries, standing_answers
from components.shared.errors import InputError
from components.shared.services.store import Store
from components.shared.signatures import is_signed
from pipelines.review.answers import read_csv
from pipelines.review.import_answers import import_answers, roll_back, summary
from pipelines.review.queue import make_queue
from pipelines.review.run_artifacts import read_run

FOREIGN = "f" * 64


def write(path: Path, answers: dict[str, str]) -> Path:
    path.write_text("tile,answer\n" + "".join(f"{tile},{answer}\n" for tile, answer in answers.items()))
    return path


@pytest.fixture
def oracle(run, tmp_path) -> Path:
    """The answers of somebody who knows what each tile shows, to a queue of 40 tiles."""
    table = make_queue(run.store, read_run(run.artifacts), tmp_path / "queue", size=40)
    return write(tmp_path / "oracle.csv", {tile: ("no_crack", "crack")[run.truth[tile]] for tile in table["tile"]})


def test_a_review_corrects_the_wrong_labels_and_a_rollback_restores_them(run, oracle, wrong_tiles) -> None:
    imported = import_answers(run.store, oracle, "  Ada   Lovelace ", "round 1")
    assert imported.entry.by == "Ada Lovelace"
    assert summary(imported) == [
        "40 answers of Ada Lovelace: 6 change the label, 0 are bad images, and 34 confirm the label"
    ]
    assert {answer.tile for answer in imported.entry.answers if answer.old != answer.new} == wrong_tiles

    labels = run.ingest().table.set_index("sample_id")["label"]
    assert labels.to_dict() == run.truth
    assert roll_back(run.store, imported.entry.id[:12], "Ben", "test").id == imported.entry.id
    assert run.ingest().digest == run.manifest.digest
    assert len(read_entries(run.store)) == 2


def test_the_same_file_adds_nothing_the_second_time(run, oracle) -> None:
    import_answers(run.store, oracle, "Ada")
    again = import_answers(run.store, oracle, "Ada")
    assert again.entry is None
    assert summary(again) == ["40 answers were in the list already"]
    assert len(read_entries(run.store)) == 1
    other = import_answers(run.store, oracle, "Ben")
    assert len(other.entry.answers) == 40


def test_an_import_can_be_signed_also_after_it_was_made_without_a_key(run, oracle) -> None:
    key = Ed25519PrivateKey.generate()
    import_answers(run.store, oracle, "Ada")
    entry = import_answers(run.store, oracle, "Ada", key=key).entry
    assert len(entry.answers) == 40
    assert is_signed(entry.signed_text, entry.signature, key.public_key())
    assert import_answers(run.store, oracle, "Ada", key=key).entry is None
    roll_back(run.store, entry.id, "Ada", "test", key)
    assert all(is_signed(one.signed_text, one.signature, key.public_key()) for one in read_entries(run.store)[1:])


def test_people_who_disagree_are_named(run, tmp_path) -> None:
    [first, second, *_] = run.truth
    import_answers(run.store, write(tmp_path / "a.csv", {first: "crack", second: "crack"}), "Ada")
    imported = import_answers(run.store, write(tmp_path / "b.csv", {first: "bad image", second: "crack"}), "Ben")
    assert summary(imported)[-1] == "people disagree about 1 tiles, so no answer about these tiles is applied"
    assert sorted(imported.standing.disputed["by"]) == ["Ada", "Ben"]


def test_tiles_that_no_version_holds_are_named_and_kept_only_on_request(run, tmp_path) -> None:
    [known, *_] = run.truth
    file = write(tmp_path / "a.csv", {known: "crack", FOREIGN: "crack"})
    with pytest.raises(
        InputError, match=f"1 of the 2 tiles in .*a.csv are in .* such as {FOREIGN}.*Nothing was imported"
    ):
        import_answers(run.store, file, "Ada")
    assert read_entries(run.store) == []
    imported = import_answers(run.store, file, "Ada", keep_unknown=True)
    assert {answer.tile: answer.old for answer in imported.entry.answers}[FOREIGN] == "unknown"
    assert run.ingest() is not None


@pytest.mark.parametrize("name", ["", "   ", "\n", "a" * 81, "Ada\x1b[2J"])
def test_a_name_that_names_nobody_is_refused(run, oracle, name) -> None:
    with pytest.raises(InputError, match=r"--by is .*; give the name of the person who answered"):
        import_answers(run.store, oracle, name)
    with pytest.raises(InputError, match="--by is "):
        roll_back(run.store, "0", name, "why")


def test_a_file_without_answers_is_refused(run, tmp_path) -> None:
    [first, second, *_] = run.truth
    file = write(tmp_path / "a.csv", {first: "unsure", second: ""})
    with pytest.raises(
        InputError, match="no answer to import: 1 tiles have no answer, 1 have the answer unsure, and 0 were"
    ):
        import_answers(run.store, file, "Ada")


def test_a_store_without_a_version_is_refused(store, tmp_path) -> None:
    with pytest.raises(InputError, match=r"has no data set version, so it has no tiles; give the --workdir"):
        import_answers(store, write(tmp_path / "a.csv", {FOREIGN: "crack"}), "Ada")


def test_a_rollback_needs_a_reason_and_an_import(run, oracle) -> None:
    entry = import_answers(run.store, oracle, "Ada").entry
    with pytest.raises(InputError, match="--why is empty"):
        roll_back(run.store, entry.id, "Ben", " ")
    with pytest.raises(InputError, match='0 imports have an ID that begins with "xyz"; give an ID that'):
        roll_back(run.store, "xyz", "Ben", "why")
    roll_back(run.store, entry.id, "Ben", "why")
    with pytest.raises(InputError, match="is rolled back already, by Ben"):
        roll_back(run.store, entry.id, "Ada", "why")


def test_imports_of_two_people_at_once_lose_nothing(run, tmp_path) -> None:
    tiles = list(run.truth)

    def import_part(number: int) -> Entry:
        part = dict.fromkeys(tiles[number * 8 : number * 8 + 8], "crack")
        return import_answers(run.store, write(tmp_path / f"{number}.csv", part), f"person {number}").entry

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(import_part, range(8)))
    assert len(standing_answers(read_entries(run.store)).agreed) == 64


def crack_pipeline(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("crack-pipeline")), "review", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})


def test_the_commands_lead_from_the_queue_to_the_rollback(run, tmp_path) -> None:
    place = ("--set", f"store={run.store.uri}")
    out = tmp_path / "Jörg's queue"
    made = crack_pipeline("queue", "--out", str(out), "--size", "12", "--from", str(run.artifacts), *place)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("12 tiles of ")
    assert made.stdout.endswith(f"open {out / 'review.html'}\n")

    exported = crack_pipeline("export", str(out), "--to", "label-studio")
    tasks = json.loads(Path(exported.stdout.strip()).read_text())
    assert len(tasks) == 12

    tiles = pd.read_csv(out / "queue.csv")["tile"]
    file = write(tmp_path / "answers.csv", dict.fromkeys(tiles, "bad image"))
    imported = crack_pipeline("import", str(file), "--by", "Ada [red]", "--why", "fog", *place)
    assert "12 answers of Ada [red]: 0 change the label, 12 are bad images" in imported.stdout
    name = imported.stdout.split("import ")[1].split(";")[0]

    rolled_back = crack_pipeline("rollback", name, "--by", "Ben", "--why", "wrong file", *place)
    assert rolled_back.stdout == f"the next run no longer applies import {name} of Ada [red] (12 answers)\n"
    listed = crack_pipeline("list", *place).stdout
    assert "Ada [red]" in listed
    assert f"rolls back {name}" in listed
    assert "rolled back by Ben" in listed

    refused = crack_pipeline("import", str(file), "--by", "", *place)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: --by is an empty text")


def test_a_queue_needs_a_run(tmp_path) -> None:
    refused = crack_pipeline("queue", "--out", str(tmp_path / "queue"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: no run is given; give the --workdir of local runs, or a run's artifacts")


def test_stores_do_not_share_answers(run, oracle, s3) -> None:
    import_answers(run.store, oracle, "Ada")
    assert read_entries(Store(f"{s3}-other")) == []


def test_a_message_names_the_line_of_the_file_also_after_an_empty_line_or_a_name_with_a_break(tmp_path) -> None:
    text = f'tile,answer,path\n\n{FOREIGN},crack,"pier\u2028 1.jpg"\n{FOREIGN},maybe,pier 2.jpg\n'
    with pytest.raises(InputError, match=r"a.csv, line 4.*maybe"):
        read_csv(tmp_path / "a.csv", text)
