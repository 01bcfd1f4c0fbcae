"""Every command in the documents exists: make's targets and variables, the command line's commands and options."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli.main import app

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "manifests/README.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_and_variable_is_the_makefiles(name):
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", (ROOT / name).read_text(), re.DOTALL))
    calls = re.findall(r"\bmake (?:-B )?([a-z][a-z-]*[a-z])(?![a-z-])((?:\s+[A-Z_]+=\S+)*)", code)
    assert calls
    for target, variables in calls:
        assert re.search(rf"^{target}:.*##", MAKEFILE, re.MULTILINE), target
        for variable in re.findall(r"([A-Z_]+)=", variables):
            assert f"$({variable})" in MAKEFILE or f"{variable}=" in MAKEFILE, variable


@pytest.mark.parametrize("name", ["README.md", "Makefile"])
def test_every_command_and_option_is_the_command_lines(name):
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for words in re.findall(r"crack-pipeline ([a-z-]+[^`\n]*)", text):
        command, rest = get_command(app), words.split()
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert command.name != get_command(app).name, words
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--[a-z][a-z-]*", " ".join(["", *rest]))) <= known, words
