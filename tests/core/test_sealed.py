"""The core is sealed: what it imports, and when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "syncdiffusion_core"
FILES = sorted(CORE.rglob("*.py"))
ALWAYS = {"torch", "numpy", "safetensors"}
LAZILY = {"lpips", "torchvision", "torchmetrics"}


def imports(node: ast.AST) -> list[ast.AST]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]


def outside(node: ast.AST) -> set[str]:
    """Packages that an import takes from outside the core and the standard library."""
    if isinstance(node, ast.ImportFrom):
        names = [] if node.level else [node.module]
    else:
        names = [alias.name for alias in node.names]
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


def in_functions(tree: ast.AST) -> set[ast.AST]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node for function in functions for node in imports(function)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CORE)))
def test_a_file_imports_only_what_the_core_may(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lazy = in_functions(tree)
    for node in imports(tree):
        allowed = ALWAYS | LAZILY if node in lazy else ALWAYS
        assert outside(node) <= allowed, f"{file.name}:{node.lineno}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CORE)))
def test_relative_imports_stay_inside(file):
    """The host loads the pack under another name: relative imports only, and none that leave the core."""
    depth = len(file.relative_to(CORE).parts)
    for node in imports(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= depth, f"{file.name}:{node.lineno}"


def module_names() -> list[str]:
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in FILES]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def test_importing_the_core_loads_no_network_package():
    """In a fresh interpreter, as the host imports it; the files are loaded when a network is made."""
    script = (
        "import sys, importlib; sys.path.append(sys.argv[1])\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "heavy = {'lpips', 'torchvision', 'torchmetrics', 'scipy', 'matplotlib', 'skimage'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", script, str(ROOT), *module_names()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"


def test_the_core_keeps_no_state_of_its_own():
    """Nothing survives a run: no ``global`` statement, no module-level list or set that a run could fill."""
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Global)], file.name
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                assert not isinstance(node.value, ast.List | ast.Set | ast.ListComp), f"{file.name}:{node.lineno}"
