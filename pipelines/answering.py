"""A registered model in a process of its own: `python -I answering.py MODEL_URI`, batches in, answers out.

A version brings its own code, of the same package names as this project's; only a process that has imported nothing
runs the version's. Each line of standard input is a JSON list of base64 of image files; each line of standard output
the answers, a JSON list of {"p_crack", "label", "threshold"}. The first line out is "ready".
"""

import json
import os
import sys


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer
    import mlflow
    import pandas as pd

    model = mlflow.pyfunc.load_model(sys.argv[1])
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        table = model.predict(pd.DataFrame({"image": json.loads(line)}))
        print(json.dumps(table.to_dict("records")), file=answers, flush=True)


if __name__ == "__main__":
    main()
