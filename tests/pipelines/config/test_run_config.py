import json
from pathlib import Path

import pytest

from components.shared.errors import InputError
from components.train.config import TrainConfig
from pipelines.config.parameter_file import load_run_config, parameter_schema

PARAMS = Path(__file__).parents[3] / "pipelines" / "params"
SMALLEST = "candidates:\n  cnn:\n    train: {architecture: resnet18, steps: 5}\n"


def write(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["local", "dev", "paper", "prod"])
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
        (SMALLEST + "seed: one\n", r"seed: .*integer.*'one'"),
        (SMALLEST.replace("5}", "5, batch_size: 3.5}"), r"candidates\.cnn\.train\.batch_size.*3\.5"),
        (
            SMALLEST + "gate: {limits: [{name: auroc, limits: 0.8, on: low}]}\n",
            r'"gate\.limits\.0\.limits"; did you mean "limit"',
        ),
        (SMALLEST + "gate: {champion: {margins: 1.0}}\n", r'"gate\.champion\.margins"; did you mean "margin"'),
        (SMALLEST + "seed: 1\nseed: 2\n", 'line 5: key "seed" stands twice'),
        (SMALLEST + "ingest: {store: 's3://x/y'}\n", r'ingest\.store belongs to the run.*"store"'),
        (
            SMALLEST + "evaluate: {seen_corruptions: [jpeg]}\n",
            r"evaluate\.seen_corruptions belongs to the run.*leave it out",
        ),
        (SMALLEST.replace("{architecture: resnet18, steps: 5}", "{architecture: resnet18}"), "either epochs or steps"),
        (SMALLEST.replace("cnn", "CNN 1"), 'candidate name "CNN 1"'),
        ("seed: 1\n", '"candidates" is missing'),
        ("- a\n", "expected a mapping"),
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
        ("candidates.cnn.train.steps.most=5", '"steps" holds a value, not a section'),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        load_run_config(write(tmp_path, SMALLEST), [override])


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


def test_evaluate_is_told_which_corruptions_the_candidates_own_augmentation_shows(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "candidates:\n"
        "  plain: {train: {architecture: resnet18, steps: 1, augment: {noise: 0, brightness: 0}}}\n"
        "  noisy: {train: {architecture: resnet18, steps: 1, augment: {noise: 0.1, brightness: 0}}}\n"
    )
    config = load_run_config(file)
    seen = {name: json.loads(config.step_json("evaluate", name))["seen_corruptions"] for name in config.candidates}
    assert seen == {"plain": [], "noisy": ["gaussian_noise"]}
