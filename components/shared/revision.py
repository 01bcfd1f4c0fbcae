"""Read the commit of a checkout of this code."""

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str:
    """Run a git command in a checkout and return its output, without white space at both ends.

    Raises:
        OSError: git is not installed.
        subprocess.CalledProcessError: The command failed, for example because the folder is not a checkout.
    """
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path) -> str:
    """Return the checkout's commit, 40 hexadecimal digits. It raises the same errors as `git`."""
    return git(root, "rev-parse", "HEAD")
