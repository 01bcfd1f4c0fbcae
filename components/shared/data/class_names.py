"""Recognise a class from the name of a folder or from a label in a table, in many spellings."""

from components.shared.data.manifest import CRACK, NO_CRACK

CRACK_NAMES = frozenset({"crack", "cracks", "cracked", "withcrack", "withcracks"})
NO_CRACK_NAMES = frozenset(
    {"nocrack", "nocracks", "noncrack", "noncracks", "noncracked", "notcracked", "uncracked", "withoutcrack",
     "withoutcracks"}
)  # fmt: skip
POSITIVE_NAMES = frozenset({"positive", "positives"})
NEGATIVE_NAMES = frozenset({"negative", "negatives"})
TRUE_NAMES = frozenset({"1", "yes", "y", "true"})
FALSE_NAMES = frozenset({"0", "no", "n", "false"})


def simple_name(text: str) -> str:
    """Return a name in lower case, with letters and digits only: "Non-cracked" becomes "noncracked"."""
    return "".join(filter(str.isalnum, text.casefold()))


def class_of_folder(name: str) -> int | None:
    """Return the label, 0 or 1, that a folder's name stands for. Return None if it is not the name of a class."""
    simple = simple_name(name)
    if simple in CRACK_NAMES | POSITIVE_NAMES:
        return CRACK
    if simple in NO_CRACK_NAMES | NEGATIVE_NAMES:
        return NO_CRACK
    return None


def class_of_label(text: str) -> int | None:
    """Return the label, 0 or 1, that a cell of a table stands for. Return None if this is not clear.

    A cell can be the name of a class, a number (such as 1, 1.0 or 1,0) or a word such as yes or TRUE.
    """
    number = text.strip().replace(",", ".")
    whole, point, fraction = number.partition(".")
    if point and fraction.strip("0") == "":
        number = whole
    if number.casefold() in TRUE_NAMES:
        return CRACK
    if number.casefold() in FALSE_NAMES:
        return NO_CRACK
    return class_of_folder(text)
