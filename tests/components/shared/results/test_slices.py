import pytest

from components.shared.errors import InputError
from components.shared.results.slices import WHOLE, Slice


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (WHOLE, "all"),
        (Slice.of(surface="wall"), "surface=wall"),
        (Slice.of(corruption="blur", severity=3), "corruption=blur,severity=3"),
        (Slice.of(source="a=b"), "source=a=b"),
        (Slice.of(folder=""), "folder="),
        (Slice.of(folder="north, old\\", surface="deck"), "folder=north\\, old\\\\,surface=deck"),
    ],
)
def test_a_slice_survives_its_text(part: Slice, text: str) -> None:
    assert str(part) == text
    assert Slice.parse(text) == part


def test_a_slice_answers_for_its_columns() -> None:
    part = Slice.of(corruption="blur", severity=3)
    assert part.columns == ("corruption", "severity")
    assert part.get("severity") == "3"
    assert part.get("surface") is None
    assert WHOLE.columns == ()


@pytest.mark.parametrize("text", ["", "wall", "=wall", "surface=wall,deck"])
def test_a_text_that_is_not_a_slice_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f'"{text}" is not a slice; write "all" or column=value'):
        Slice.parse(text)
