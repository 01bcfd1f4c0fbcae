"""The import rules of components/README.md, proved on the source and in fresh processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))
TORCH_STEPS = {"train", "predict", "explain", "register", "collect"}
OWN = ("components", "pipelines")


def imports(path: Path, module_level_only: bool = False) -> set[str]:
    """Dotted names imported by a file; `from a import b` counts as a.b, since b may be a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if module_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in OWN}


def logic_files(step: str) -> list[Path]:
    return [path for path in (ROOT / "components" / step).glob("*.py") if path.name != "component.py"]


def test_every_step_stands_in_a_graph():
    graphs = [ROOT / "pipelines" / f"{name}.py" for name in ("training", "drift_check")]
    called = {name.split(".")[1] for graph in graphs for name in imports(graph) if ".component." in name}
    assert called == set(STEPS)


@pytest.mark.parametrize("path", sorted((ROOT / "components" / "shared").glob("*.py")), ids=lambda path: path.name)
def test_shared_imports_neither_kfp_nor_a_step(path):
    names = imports(path)
    assert not [name for name in names if name.split(".")[0] == "kfp"]
    assert not [name for name in own(names) if not name.startswith("components.shared")]


@pytest.mark.parametrize("step", STEPS)
def test_logic_imports_only_shared_and_its_own_folder(step):
    for path in logic_files(step):
        names = imports(path)
        assert not [name for name in names if name.split(".")[0] == "kfp"], path
        allowed = ("components.shared.", f"components.{step}.")
        assert not [name for name in own(names) if not name.startswith(allowed)], path


@pytest.mark.parametrize("step", STEPS)
def test_config_imports_pydantic_and_the_base_only(step):
    roots = {name.split(".")[0] for name in imports(ROOT / "components" / step / "config.py")}
    assert roots <= {"components", "pydantic", "typing", "re", "enum"}
    base = "components.shared.config."
    assert all(name.startswith(base) for name in own(imports(ROOT / "components" / step / "config.py")))


@pytest.mark.parametrize("step", STEPS)
def test_component_is_a_thin_face(step):
    path = ROOT / "components" / step / "component.py"
    top = imports(path, module_level_only=True)
    assert {name.split(".")[0] for name in top} <= {"kfp", "typing", "components"}
    assert own(top) == {"components.container_images.container_image"}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            docstring, *statements = node.body
            assert isinstance(docstring, ast.Expr), f"{node.name} lacks a docstring"
            lines = statements[-1].end_lineno - statements[0].lineno + 1
            assert lines <= 20, f"{path}: {node.name} has {lines} lines of body"


def test_commands_share_options_and_import_no_other_command():
    for path in (ROOT / "pipelines" / "commands").glob("*.py"):
        others = {name for name in own(imports(path)) if name.startswith("pipelines.commands.")}
        assert not [name for name in others if not name.startswith("pipelines.commands.options.")], path


def test_only_policy_imports_kfp_kubernetes():
    users = [
        path.relative_to(ROOT).as_posix()
        for folder in OWN
        for path in (ROOT / folder).rglob("*.py")
        if any(name.startswith("kfp.kubernetes") for name in imports(path))
    ]
    assert users == ["pipelines/policy.py"]


def test_init_files_hold_a_docstring_only():
    for folder in OWN:
        for path in (ROOT / folder).rglob("__init__.py"):
            body = ast.parse(path.read_text()).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path
            assert isinstance(body[0].value, ast.Constant), path


def first_to_load(watched: str, steps: set[str]) -> str:
    """The first of the steps' modules whose import brings another module in; empty where none does."""
    modules = [
        f"components.{step}.{path.stem}"
        for step in sorted(steps)
        for path in logic_files(step)
        if path.stem not in ("__init__", "served_model")  # served_model runs inside MLflow only
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    if {watched!r} in sys.modules: sys.exit(print(name))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_cpu_steps_load_without_torch():
    assert first_to_load("torch", set(STEPS) - TORCH_STEPS) == ""


def test_logic_loads_without_kfp():
    assert first_to_load("kfp", set(STEPS)) == ""
