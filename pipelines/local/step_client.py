"""Run one step of a local run: ask the step server to start the step, and end with the step's exit status.

This file imports little, because it is started for every step.
"""

import json
import os
import socket
import sys

from pipelines.local.step_server import ADDRESS


def main() -> int:
    """Return the exit status of the step; 128 plus the number of the signal if a signal ended it."""
    request = {"arguments": sys.argv, "environment": dict(os.environ)}
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.environ[ADDRESS])
            socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
            answer = connection.recv(16)
    except OSError:
        answer = b""

    if not answer:
        print("the server that starts the steps has ended; run again", file=sys.stderr)
        return 1
    status = int(answer)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
