import textwrap

import mlflow
import pytest

from components.shared.network.served_process import ModelLoadError, ModelProcess

MODEL = """
    import os
    import signal
    import sys

    import pandas as pd
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel


    class Picky(PythonModel):
        def predict(self, context, model_input: pd.DataFrame, params=None):
            print("a library's chatter")
            asked = list(model_input["image"])
            if "bad" in asked:
                raise ValueError("bad is refused")
            if "die" in asked:
                os.kill(os.getpid(), signal.SIGKILL)
            if "exit" in asked:
                sys.exit("no more")
            return pd.DataFrame({"p_crack": [len(text) / 10 for text in asked]})


    {last}
"""


@pytest.fixture
def model(tmp_path):
    """Return a function that saves a model and returns its folder. `last` is the last line of the model's code."""

    def save(last: str = "set_model(Picky())") -> str:
        code = tmp_path / "picky.py"
        code.write_text(textwrap.dedent(MODEL).replace("{last}", "set_model(Picky())"))
        mlflow.pyfunc.save_model(tmp_path / "model", python_model=str(code), pip_requirements=[])
        (tmp_path / "model" / "picky.py").write_text(textwrap.dedent(MODEL).replace("{last}", last))
        return str(tmp_path / "model")

    return save


def test_the_other_images_of_a_batch_are_answered_if_one_is_refused(model, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with ModelProcess(model()) as asked:
        assert asked.ask([]) == []
        assert asked.ask(["ab", "abc"]) == [{"p_crack": 0.2}, {"p_crack": 0.3}]
        assert asked.ask(["ab", "bad", "abc"]) == [{"p_crack": 0.2}, {"error": "bad is refused"}, {"p_crack": 0.3}]
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(("word", "how"), [("die", "ended by signal 9"), ("exit", "ended with exit status 1: no more")])
def test_an_error_says_how_the_process_ended(model, word, how):
    with ModelProcess(model()) as asked, pytest.raises(RuntimeError, match=how):
        asked.ask([word])


def test_a_model_that_cannot_be_loaded_says_why(model):
    path = model("raise OSError('no weights here')")
    with pytest.raises(ModelLoadError, match=f"{path} cannot be loaded: .*no weights here"), ModelProcess(path):
        pass
