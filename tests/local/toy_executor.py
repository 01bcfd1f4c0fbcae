"""Stand in for KFP's executor: print what the step sees, and end as the environment says."""

import atexit
import os
import signal
import sys

atexit.register(print, "at exit")
print(f"a step with {sys.argv[-1]} and MARK={os.environ['MARK']}", flush=True)
if os.environ["END"] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(os.environ["END"]))
