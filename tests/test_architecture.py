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


def test_the_graph_has_every_step():
    cpu = {"ingest", "split", "evaluate", "drift", "gate", "select", "report", "notify", "retrain"}
    assert set(STEPS) == cpu | TORCH_STEPS


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
    own_names = own(imports(ROOT / "components" / step / "config.py"))
    assert not [name for name in own_names if not name.startswith("components.shared.config.")]


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


def _loaded(modules: list[str], watched: str) -> str:
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print({watched!r} in sys.modules)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("step", sorted(set(STEPS) - TORCH_STEPS))
def test_cpu_steps_load_without_torch(step):
    modules = [f"components.{step}.{path.stem}" for path in logic_files(step) if path.stem != "__init__"]
    assert _loaded(modules, "torch") == "False"


def test_logic_loads_without_kfp():
    modules = [
        f"components.{step}.{path.stem}"
        for step in STEPS
        for path in logic_files(step)
        if path.stem not in ("__init__", "served_model")  # served_model runs inside MLflow only
    ]
    assert _loaded(modules, "kfp") == "False"
