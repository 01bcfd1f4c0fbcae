"""Run a command, and end its process group when standard input closes: `python -m pipelines.local.guard COMMAND…`.

The guard's standard input is a pipe. The process that started the guard keeps the other end of the pipe. The kernel
closes the pipe when that process ends, even after SIGKILL. So a command under a guard never runs longer than the
process that started the guard.
"""

import os
import select
import signal
import subprocess
import sys
import time

SECONDS_FROM_SIGTERM_TO_SIGKILL = 5.0
SECONDS_BETWEEN_LOOKS = 0.1


def main() -> int:
    """Run the command that the arguments give.

    Returns:
        The exit status of the command, or 128 plus the number of the signal that ended the command.
    """
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    input_closed = False
    while child.poll() is None and not input_closed:
        readable, _, _ = select.select([sys.stdin], [], [], SECONDS_BETWEEN_LOOKS)
        input_closed = bool(readable)

    _end_group(child)
    status = child.returncode
    return status if status >= 0 else 128 - status


def _end_group(leader: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS_FROM_SIGTERM_TO_SIGKILL
    try:
        os.killpg(leader.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            leader.poll()
            os.killpg(leader.pid, 0)  # raises ProcessLookupError when the group is empty
            time.sleep(0.02)
        os.killpg(leader.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

    leader.wait()


if __name__ == "__main__":
    sys.exit(main())
