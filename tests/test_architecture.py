"""The import rules of ARCHITECTURE.md, proved on the source and in fresh processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))
TORCH_STEPS = {"train", "predict", "explain", "register", "collect", "inspect"}
OWN = ("components", "pipelines")

# From the ground up: a module may import modules of its own floor and of the floors below it.
# A folder's name stands for every module in it that has no line of its own.
FLOORS = [
    {
        "components.shared.atomic_file",
        "components.shared.errors",
        "components.shared.config",
        "components.shared.markdown",
        "components.shared.mounted_secrets",
        "components.shared.name_search",
        "components.shared.page",
        "components.shared.processors",
        "components.shared.regular_file",
        "components.shared.revision",
        "components.shared.scratch",
        "components.shared.signatures",
    },
    {"components.shared.events", "components.shared.hashing"},
    {"components.shared.services"},
    {"components.shared.step", "components.shared.reuse", "components.shared.data"},
    {"components.shared.network", "components.shared.results"},
    {"components.container_images", "components.step_process"},
    {f"components.{step}" for step in STEPS},
    {"pipelines.config"},
    {"pipelines.graphs"},
    {
        "pipelines.local",
        "pipelines.image_files",
        "pipelines.output_files",
        "pipelines.model_cleanup",
        "pipelines.store_cleanup",
        "pipelines.public_datasets",
    },
    {"pipelines.registry"},
    {"pipelines.review", "pipelines.sites", "pipelines.transfer", "pipelines.drawn_photos"},
    {"pipelines.cluster"},
    {"pipelines.cli"},
]


def sources() -> list[Path]:
    return sorted(path for folder in OWN for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in sources()}


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


def modules_imported(path: Path) -> set[str]:
    """The project's modules that a file imports, whether it names the module or a thing in it."""
    names = own(imports(path))
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def floor_of(module: str) -> int | None:
    """Return the number of a module's floor. If several names in FLOORS fit the module, the longest name decides."""
    found = [
        (len(name), number)
        for number, names in enumerate(FLOORS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(found)[1] if found else None


def logic_files(step: str) -> list[Path]:
    return [path for path in (ROOT / "components" / step).rglob("*.py") if path.name != "component.py"]


def test_every_module_has_a_floor():
    packages = {module_of(path) for path in sources() if path.name == "__init__.py"}
    assert [module for module in sorted(MODULES - packages) if floor_of(module) is None] == []


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_no_import_climbs(path):
    floor = floor_of(module_of(path))
    climbing = [name for name in modules_imported(path) if (floor_of(name) or 0) > (floor or 0)]
    assert climbing == []


def test_no_two_folders_of_shared_import_each_other_in_a_circle():
    """`network` and `results` stand side by side."""
    for one, other in (("network", "results"), ("results", "network")):
        for path in (ROOT / "components" / "shared" / one).glob("*.py"):
            across = [name for name in modules_imported(path) if name.startswith(f"components.shared.{other}")]
            assert across == [], path


def test_no_module_imports_itself_by_a_circle():
    ways = {module_of(path): modules_imported(path) for path in sources()}
    clear: set[str] = set()

    def walk(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module in clear:
            return
        for below in ways.get(module, ()):
            walk(below, (*above, module))
        clear.add(module)

    for module in sorted(ways):
        walk(module, ())


def test_every_step_stands_in_a_graph():
    graphs = [ROOT / "pipelines" / "graphs" / f"{name}.py" for name in ("training", "drift_check", "inspection")]
    called = {name.split(".")[1] for graph in graphs for name in imports(graph) if ".component." in name}
    assert called == set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_its_component_its_configuration_and_its_entry(step):
    names = {path.name for path in logic_files(step)}
    assert "config.py" in names
    assert {"run.py", "page.py", "message.py"} & names, f"{step} has no entry"


def test_shared_never_imports_kfp():
    for path in (ROOT / "components" / "shared").rglob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] == "kfp"], path


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
    light = ("components.shared.config.", "components.shared.results.slices.")
    assert all(name.startswith(light) for name in own(imports(ROOT / "components" / step / "config.py")))


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
    for path in (ROOT / "pipelines" / "cli").glob("*.py"):
        if path.name == "main.py":
            continue
        others = {name for name in own(imports(path)) if name.startswith("pipelines.cli.")}
        assert not [name for name in others if not name.startswith("pipelines.cli.options.")], path


def test_only_pod_policy_imports_kfp_kubernetes():
    users = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if any(name.startswith("kfp.kubernetes") for name in imports(path))
    ]
    assert users == ["pipelines/graphs/pod_policy.py"]


def test_init_files_hold_a_docstring_only():
    for path in sources():
        if path.name == "__init__.py":
            body = ast.parse(path.read_text()).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path
            assert isinstance(body[0].value, ast.Constant), path


def first_to_load(watched: str, steps: set[str]) -> str:
    """Import the modules of the steps in order. Return the first one after which `watched` is loaded, or ""."""
    modules = [
        module_of(path)
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
