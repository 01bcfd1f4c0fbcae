"""Test which measurements reach a limit, and the reason that is given."""

import pytest
from pydantic import ValidationError

from components.gate.config import GateConfig, Limit
from components.gate.limits import judge
from components.shared.results.measurements import FEW_ERRORS, Measurement, Measurements
from components.shared.results.slices import Slice

DECK = Slice.of(surface="deck")
MEASURED = Measurements(
    [
        Measurement("accuracy", 0.95, low=0.91, high=0.98, n=400),
        Measurement("f1", 0.99, low=0.9, high=0.998, n=400, note=FEW_ERRORS),
        Measurement("ece", 0.03, n=400),
        Measurement("auroc", float("nan"), slice=DECK, note="undefined: needs images of both classes"),
    ]
)


@pytest.mark.parametrize(
    ("limit", "passed", "why"),
    [
        (Limit(name="accuracy", limit=0.95), True, "Accuracy on test is 0.95, and must be at least 0.95."),
        (Limit(name="accuracy", limit=0.9501), False, "Accuracy on test is 0.95, but must be at least 0.9501."),
        (
            Limit(name="accuracy", limit=0.9, on="low"),
            True,
            "For accuracy on test, the lower end of the 95 % interval is 0.91",
        ),
        (Limit(name="accuracy", limit=0.92, on="low"), False, "is 0.91, but must be at least 0.92"),
        (Limit(name="accuracy", op="<=", limit=0.97, on="high"), False, "is 0.98, but must be at most 0.97"),
        (
            Limit(name="f1", limit=0.8, on="low"),
            True,
            "The number of errors is below the number of tiles in an average photo, so this interval may be too",
        ),
        (Limit(name="f1", limit=0.8), True, "F1 on test is 0.99, and must be at least 0.8."),
        (Limit(name="ece", op="<=", limit=0.05), True, "at most 0.05"),
        (Limit(name="ece", op="<", limit=0.03), False, "is 0.03, but must be below 0.03"),
        (Limit(name="ece", op=">", limit=0.03), False, "above 0.03"),
        (Limit(name="ece", op="<=", limit=0.05, on="high"), False, "could not be measured"),
        (Limit(name="acuracy", limit=0.5), False, "no measurement named acuracy. Did you mean accuracy?"),
        (
            Limit(name="accuracy", split="robustness", limit=0.5),
            False,
            "not measured on robustness. It was measured on: test, all",
        ),
        (Limit(name="auroc", slice=DECK, limit=0.5), False, "undefined: needs images of both classes"),
    ],
)
def test_limits(limit: Limit, passed: bool, why: str) -> None:
    (row,) = judge(MEASURED, (limit,))
    assert row.passed is passed
    assert why in row.why


def test_an_undefined_value_is_none_so_that_the_verdict_is_json() -> None:
    (row,) = judge(MEASURED, (Limit(name="auroc", slice=DECK, limit=0.5),))
    assert (row.value, row.low, row.high) == (None, None, None)


def test_a_slice_is_text_in_a_parameter_file() -> None:
    text = '{"limits": [{"name": "auroc", "slice": "surface=deck", "limit": 0.5}]}'
    config = GateConfig.model_validate_json(text)
    assert config.limits[0].slice == DECK
    assert GateConfig.model_validate_json(config.model_dump_json()) == config
    assert '"slice":"surface=deck"' in config.model_dump_json()
    with pytest.raises(ValidationError, match='"deck" is not a slice; write "all" or column=value'):
        GateConfig.model_validate_json(text.replace("surface=deck", "deck"))


@pytest.mark.parametrize(
    "text",
    [
        '{"limits": []}',
        '{"limits": [{"name": "accuracy", "limit": "0.9"}]}',
        '{"limits": [{"name": "accuracy", "limit": 0.9, "slise": "all"}]}',
        '{"limits": [{"name": "accuracy", "limit": 0.9, "op": "="}]}',
        '{"limits": [{"name": "accuracy", "limit": NaN}]}',
    ],
)
def test_a_gate_that_cannot_refuse_a_candidate_is_an_error(text: str) -> None:
    with pytest.raises(ValidationError):
        GateConfig.model_validate_json(text)
