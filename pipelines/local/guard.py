"""Run a command and end its whole process group when standard input closes: `python -m pipelines.local.guard COMMAND…`.

Whoever starts the guard holds the other end of a pipe to its standard input. The kernel closes that pipe when the
holder ends, however it ends, SIGKILL included, so that nothing started under a guard outlives the one who started it.
"""

import os
import select
import signal
import subprocess
import sys
import time

GRACE = 5.0  # seconds between SIGTERM and SIGKILL


def main() -> int:
    """Run the command given as arguments; return its exit status, 128 + the signal's number where one ended it."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not select.select([sys.stdin], [], [], 0.1)[0]:
        pass
    _end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end_group(leader: subprocess.Popen) -> None:
    deadline = time.monotonic() + GRACE
    try:
        os.killpg(leader.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            leader.poll()
            os.killpg(leader.pid, 0)  # raises once nobody is left
            time.sleep(0.02)
        os.killpg(leader.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    leader.wait()


if __name__ == "__main__":
    sys.exit(main())
