"""Search names with a regular expression within a time limit.

Some patterns, such as `(a|aa)+$`, take exponential time on a name that they do not match. Python cannot interrupt such
a search in a thread, so we run it in another process. We stop this process at the time limit.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

from components.shared.errors import InputError

SECONDS_ALLOWED = 30.0
NAMES_PER_FURTHER_SECOND = 10_000
SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
matches = map(re.compile(pattern).search, names)
json.dump([match and match.groups() for match in matches], sys.stdout)
"""


def groups_of(pattern: str, names: Sequence[str]) -> list[list[str | None] | None]:
    """Return the texts that the capturing groups of a pattern match in each name.

    Args:
        pattern: Regular expression.
        names: N names.

    Returns:
        N lists, in the order of the names, with one text for each group; None if a group has no part in the match.
        Instead of a list, there is None if the pattern does not match the name.

    Raises:
        InputError: The search takes longer than SECONDS_ALLOWED, and a second for every NAMES_PER_FURTHER_SECOND names.
    """
    limit = SECONDS_ALLOWED + len(names) / NAMES_PER_FURTHER_SECOND
    command = [sys.executable, "-I", "-c", SEARCH]
    question = json.dumps([pattern, list(names)])
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"the pattern {pattern!r} takes more than {limit:.0f} s on {len(names)} names; write it without "
            "nested repetitions: write a+ instead of (a+)+"
        ) from error
    return json.loads(done.stdout)


def first_groups(pattern: str, names: Sequence[str]) -> list[str | None]:
    """Return the text that the first capturing group of a pattern matches in each name.

    The arguments and the error are those of `groups_of`. A text is None if the pattern does not match the name.
    """
    return [groups[0] if groups else None for groups in groups_of(pattern, names)]
