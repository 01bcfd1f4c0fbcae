"""Read the commit of a checkout of this code, or the commit that a container image was built from."""

import subprocess
from pathlib import Path

COMMIT_DIGITS = 40


def git(root: Path, *arguments: str) -> str:
    """Run a git command in a checkout and return its output, without white space at both ends.

    Raises:
        OSError: git is not installed.
        subprocess.CalledProcessError: The command failed, for example because the folder is not a checkout.
    """
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path) -> str:
    """Return the checkout's commit, 40 hexadecimal digits. Raise the same errors as `git`."""
    return git(root, "rev-parse", "HEAD")


def built_revision(root: Path) -> str:
    """Return the first 12 digits of the commit that a container image was built from.

    "-dirty" is appended if files differed from the commit. The result is "" in two cases: this is not a container
    image, or the container image was built from a folder without git.
    """
    file = root / "REVISION"  # written by images/Dockerfile
    if not file.is_file():
        return ""
    digits, _, dirty = file.read_text(encoding="utf-8").strip().partition("-")
    if len(digits) != COMMIT_DIGITS:
        return ""  # the container image was built from a folder without git
    return f"{digits[:12]}-dirty" if dirty else digits[:12]
