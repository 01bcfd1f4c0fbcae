import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.evaluate.config import EvaluateConfig
from components.shared.config import StepConfig
from components.shared.errors import InputError
from components.train.config import TrainConfig
from pipelines.cli.main import app
from pipelines.config.network_checks import check_augmentations
from pipelines.config.parameter_file import Setting, load_run_config, parameter_schema
from pipelines.config.run_config import RunConfig

PARAMS = Path(__file__).parents[3] / "pipelines" / "params"
SMALLEST = "candidates:\n  cnn:\n    train: {architecture: resnet18, steps: 5}\n"


def write(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["local", "dev", "paper", "paper_as_run", "prod"])
def test_the_shipped_parameter_files_are_valid(name):
    assert load_run_config(PARAMS / f"{name}.yaml").candidates


def test_the_paper_is_what_the_paper_says():
    vit = load_run_config(PARAMS / "paper.yaml").candidates["vit_b16"].train
    expected = {
        "architecture": "vit_base_patch16_224", "weights": "hub", "input_size": 224, "tuning": "head_only",
        "learning_rate": 5e-5, "weight_decay": 0.05, "dropout": 0.1, "stochastic_depth": 0.1, "label_smoothing": 0.1,
        "epochs": 1, "batch_size": 32, "val_check_interval": 0.25,
    }  # fmt: skip
    assert {name: getattr(vit, name) for name in expected} == expected

    as_run = load_run_config(PARAMS / "paper_as_run.yaml").candidates["resnet50"].train
    assert (as_run.tuning, as_run.learning_rate, as_run.weight_decay) == ("head_only", 1e-6, 0)


def test_overrides_reach_any_depth_and_a_step_reads_back_what_it_was_given(tmp_path):
    config = load_run_config(
        write(tmp_path, SMALLEST),
        ["candidates.cnn.train.learning_rate=5e-5", r"ingest.group_pattern=^(DSC\d+)", "store=s3://other/place"],
    )
    train = TrainConfig.model_validate_json(config.step_json("train", "cnn"))
    assert (train.learning_rate, train.store, train.candidate) == (5e-5, "s3://other/place", "cnn")
    assert config.ingest.group_pattern == r"^(DSC\d+)"
    no_yaml = load_run_config(write(tmp_path, SMALLEST), ["ingest.group_pattern=[A-Z]+([0-9]+)"])
    assert no_yaml.ingest.group_pattern == "[A-Z]+([0-9]+)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALLEST + "seeds: 3\n", r'unknown key "seeds"; did you mean "seed"'),
        (SMALLEST.replace("steps", "stepz"), r'unknown key "candidates\.cnn\.train\.stepz"; did you mean "steps"'),
        (SMALLEST + "seed: one\n", r"p\.yaml: line 4: seed: .*integer.*; got one$"),
        (SMALLEST.replace("5}", "5, batch_size: 3.5}"), r"candidates\.cnn\.train\.batch_size.*3\.5"),
        (
            SMALLEST + "gate: {limits: [{name: auroc, limits: 0.8, on: low}]}\n",
            r'"gate\.limits\.0\.limits"; did you mean "limit"',
        ),
        (SMALLEST + "gate: {champion: {margins: 1.0}}\n", r'"gate\.champion\.margins"; did you mean "margin"'),
        (SMALLEST + "seed: 1\nseed: 2\n", 'line 5: key "seed" appears twice'),
        (SMALLEST + "ingest: {store: 's3://x/y'}\n", r'ingest\.store belongs to the run.*"store"'),
        (
            SMALLEST + "evaluate: {seen_corruptions: [jpeg]}\n",
            r"evaluate\.seen_corruptions belongs to the run.*remove it",
        ),
        (SMALLEST.replace("{architecture: resnet18, steps: 5}", "{architecture: resnet18}"), "either epochs or steps"),
        (SMALLEST.replace("cnn", "CNN 1"), 'candidate name "CNN 1"'),
        ("seed: 1\n", '"candidates" is missing'),
        ("- a\n", "expected a mapping"),
        ("", "expected a mapping.*; got an empty document"),
        (SMALLEST.replace("steps: 5", "steps: 5e-5"), r"line 3: .*steps: .*; got 5e-5$"),
        (SMALLEST + "run_note: 1.50\n", r"run_note: .*string; got 1\.50$"),
        (
            SMALLEST + "ingest: {correction_keys: {Ada: ada.pub}}\n",
            "ingest: 'ada.pub' is not an Ed25519 public key; give the line between BEGIN and END .*openssl",
        ),
        ("a: [\n", "p.yaml"),
    ],
)
def test_a_wrong_file_gives_one_message_that_names_the_place(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_run_config(write(tmp_path, text))
    assert "p.yaml" in str(caught.value)


def test_a_missing_file_names_those_that_are_there():
    with pytest.raises(InputError, match=r"does not exist.*local\.yaml"):
        load_run_config("nowhere.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected key=value"),
        ("candidates.cnn.train.steps.most=5", '"steps" is a value, not a section'),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        load_run_config(write(tmp_path, SMALLEST), [override])


def test_a_message_about_an_override_shows_it_as_it_was_typed(tmp_path):
    with pytest.raises(InputError) as caught:
        load_run_config(
            write(tmp_path, SMALLEST), ["seed=1:30", "candidates.cnn.train.stepz=1e1", "ingest.store=s3://x"]
        )
    assert str(caught.value).startswith('--set "ingest.store=s3://x": ingest.store belongs to the run')

    with pytest.raises(InputError) as caught:
        load_run_config(write(tmp_path, SMALLEST), ["seed=1:30", "candidates.cnn.train.stepz=1e1"])
    unknown, wrong = sorted(str(caught.value).splitlines())
    assert unknown.startswith('--set "candidates.cnn.train.stepz=1e1": unknown key "candidates.cnn.train.stepz"')
    assert wrong.startswith('--set "seed=1:30": seed: Input should be a valid integer')


def test_an_override_of_an_aliased_section_changes_that_section_only(tmp_path):
    text = (
        "candidates:\n  one: {train: &net {architecture: resnet18, steps: 5}}\n  two: {train: *net}\n"
        "  three: {train: {<<: *net, batch_size: 4}}\n"
    )
    config = load_run_config(write(tmp_path, text), ["candidates.two.train.steps=7"])
    assert [candidate.train.steps for candidate in config.candidates.values()] == [5, 7, 5]


def test_override_does_not_silently_lose_to_an_option(tmp_path):
    cache = Setting(("cache",), "/here", "--workdir", reserved="choose the folder with --workdir")
    retries = Setting(("cluster", "retries"), 0, "")
    assert load_run_config(write(tmp_path, SMALLEST), options=[cache, retries]).cache == "/here"
    with pytest.raises(InputError, match=r"p\.yaml: line 4: cluster: Input should be an object; got 3"):
        load_run_config(write(tmp_path, SMALLEST + "cluster: 3\n"), options=[cache, retries])
    with pytest.raises(InputError, match=r'--set "cache=/there": choose the folder with --workdir'):
        load_run_config(write(tmp_path, SMALLEST), ["cache=/there"], [cache])


def alias_bomb(opening: str, separator: str, closing: str) -> str:
    """Nine levels of ten aliases: a billion values."""
    lines = [f"a0: &a0 {opening}x: 1{closing}".replace("[x: 1", "[1")]
    for level in range(1, 10):
        aliases = separator.join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {opening}{aliases}{closing}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: &a [*a]\n", "line 1: an alias stands for a value that contains the alias itself"),
        ("seed: &a {b: *a}\n", "line 1: an alias stands for a value that contains the alias itself"),
        ("seed: &a\n  <<: *a\n", "line 1: an alias stands for a value that contains the alias itself"),
        (alias_bomb("[", ", ", "]"), "more than 5,000 values"),
        (alias_bomb("{<<: [", ", ", "]}").replace("{<<: [x: 1]}", "{x: 1}"), "more than 5,000 values"),
        ("? [a, b]\n: 1\n", r"the key \('a', 'b'\) is not text"),
        ("? {a: b}\n: 1\n", "line 1: .*unhashable key"),
        ("seed:\n  1: 2\n", "seed: the key 1 is not text; put the key in quotes"),
        (SMALLEST + "seed: 2026-11-30\n", r"line 4: seed: .*integer.*; got 2026-11-30$"),
        (SMALLEST + "seed: !!timestamp 2026-11-30\n", "seed: expected text, a number, .*, got date"),
        (SMALLEST + "seed: !!binary aGVsbG8=\n", "seed: expected text, a number, .*, got bytes"),
        (SMALLEST + "seed: !!int two\n", "a value cannot be read: .*'two'"),
        (SMALLEST + "seed: !!bool maybe\n", "a value cannot be read: 'maybe'"),
        (SMALLEST + "seed: !!python/object:os.system x\n", "line 4: could not determine a constructor"),
        (SMALLEST + f"seed: {'9' * 5000}\n", "a value cannot be read"),
        (SMALLEST + "seed: 1:30\n", r"line 4: seed: .*integer.*; got 1:30$"),
        (SMALLEST + "seed: .nan\n", r"line 4: seed: .*; got \.nan$"),
        ("seed: " + "[" * 5000, "line 1: the values are nested more than 20 levels deep"),
        ("- " * 5000, "line 1: the values are nested more than 20 levels deep"),
        ("seed: 1\n" * 10_000, "more than 50,000 characters"),
        ("seed: \a\n", r"line 1: the character '\\x07' is not allowed"),
        ("seed: 1\n---\nseed: 2\n", "line 2: expected a single document"),
        ('seed: "\\ud800"\n' + SMALLEST, "not Unicode"),
    ],
    ids=lambda value: None if len(value) < 40 else value[:40],
)
def test_hostile_yaml_gives_one_message_soon(tmp_path, text, message):
    path = write(tmp_path, text)
    started = time.process_time()
    done = CliRunner().invoke(app, ["compile", "--params", str(path), "--output", str(tmp_path / "out.yaml")])
    assert time.process_time() - started < 10  # seconds; without limits, a bomb takes more than a minute
    assert done.exit_code == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith(f"error: {path}")
    assert re.search(message, error)


def test_what_is_not_a_readable_file_is_named(tmp_path):
    with pytest.raises(InputError, match=f"parameter file {tmp_path} is a folder"):
        load_run_config(tmp_path)
    (tmp_path / "photo.yaml").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match=r"photo\.yaml: the file is not text in UTF-8"):
        load_run_config(tmp_path / "photo.yaml")


def test_the_schema_lists_what_a_file_may_hold_and_where():
    schema = parameter_schema()
    sections = {name: set(schema["$defs"][name]["properties"]) for name in ("TrainConfig", "EvaluateConfig")}
    assert {"steps", "architecture"} <= sections["TrainConfig"]
    assert not {"store", "candidate", "container_image", "seen_corruptions"} & set.union(*sections.values())
    assert "store" in schema["properties"]
    assert '"crack-classifier"' in json.dumps(schema)
    assert json.dumps(schema).count('"experiment"') == 1


def test_scalars_are_those_of_yaml_1_2(tmp_path):
    text = SMALLEST + "run_note: no\ngate: {limits: [{name: auroc, limit: 8e-1, on: low}]}\n"
    config = load_run_config(write(tmp_path, text))
    assert config.run_note == "no"
    assert (config.gate.limits[0].limit, config.gate.limits[0].on) == (0.8, "low")


def test_evaluate_is_told_the_augmentation_and_the_tile_size_of_its_candidate(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "candidates:\n"
        "  plain: {train: {architecture: resnet18, steps: 1, augment: [{Rotate: {limit: 30}}]}}\n"
        "  noisy: {train: {architecture: resnet18, steps: 1, tile_mm: 250, augment: [{GaussNoise: {}}]}}\n"
    )
    config = load_run_config(file)
    seen = {}
    for name in config.candidates:
        step = EvaluateConfig.model_validate_json(config.step_json("evaluate", name))
        seen[name] = (step.seen_corruptions, step.tile_mm)
    assert seen == {"plain": ((), None), "noisy": (("gaussian_noise",), 250)}


@pytest.mark.parametrize("name", ["local", "dev", "paper", "paper_as_run", "prod", "kind"])
def test_the_augmentation_of_every_shipped_file_passes_the_check(name):
    check_augmentations(load_run_config(PARAMS / f"{name}.yaml"))


def test_a_wrong_augmentation_is_found_before_a_run_starts(tmp_path):
    config = load_run_config(write(tmp_path, SMALLEST), ["candidates.cnn.train.augment=[{Rotat: {limit: 30}}]"])
    with pytest.raises(InputError, match='no transform "Rotat" for tiles; did you mean "Rotate"'):
        check_augmentations(config)


@pytest.mark.parametrize("name", ["local", "dev", "dinov2", "paper", "paper_as_run", "prod"])
def test_a_step_s_json_leaves_out_defaults_and_means_the_same(name):
    config = load_run_config(PARAMS / f"{name}.yaml", ["store=s3://other/place"])
    for section, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, StepConfig):
            candidate = next(iter(config.candidates))
            text = config.step_json(section, candidate)
            step = field.annotation.model_validate_json(text)
            given = getattr(config, section).model_dump(exclude=field.annotation.GIVEN_BY_RUN)
            assert step.model_dump(exclude=field.annotation.GIVEN_BY_RUN) == given
            assert (step.store, step.candidate) == ("s3://other/place", candidate)
            assert "crack-classifier" not in text
