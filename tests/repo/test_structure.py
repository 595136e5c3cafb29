"""The house rules that a machine can check: imports run one way, and files and functions stay small."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "flambeau"
MAX_FILE, MAX_FUNCTION = 600, 60

# A floor may import from itself and from the floors above it in this list.
FLOORS = [
    ["_startup", "_version", "version", "later", "dtypes", "shape", "devices", "errors", "quiet"],
    ["engine"],
    ["random"],
    ["tensors"],
    ["autograd"],
    ["ops"],
    ["linalg", "fft", "special"],
    ["printing", "storage", "pickling", "types"],
    ["methods"],
    ["inquiry", "settings"],
    ["nn"],
    ["multiprocessing"],
    ["serialization", "safetensors"],
    ["optim"],
    ["utils"],
    ["distributions"],
    ["vision"],
    ["amp", "distributions", "func", "hub", "testing"],
    ["accelerator", "cuda", "mps", "xpu", "backends", "distributed", "profiler"],
    ["jit", "compiler", "export", "fx", "onnx"],
    ["compat"],
    ["cli"],
    ["__init__", "__main__"],
]
FLOOR_OF = {name: level for level, names in enumerate(FLOORS) for name in names}
# What the package may import besides the standard library, everywhere; the rest only inside functions.
REQUIRED = {"numpy", "ml_dtypes", "PIL", "tqdm", "llvmlite"}


@cache
def parsed() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(), str(path)) for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def floor_of(module: str) -> int:
    """The level of a module's first part under `flambeau`; the facade itself is the top."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    assert name in FLOOR_OF, f"{module}: '{name}' has no floor; give it one in {Path(__file__).name}"
    return FLOOR_OF[name]


def imported(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    """The absolute names a statement imports, `from flambeau import ops` being `flambeau.ops`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = list(path.relative_to(ROOT).parent.parts)
        base = ".".join(package[: len(package) - node.level + 1] + ([node.module] if node.module else []))
    return [f"{base}.{a.name}" for a in node.names] if base == "flambeau" else [base]


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Statements under `if TYPE_CHECKING:`, which never run."""
    return {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }


def imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    skipped = type_checking_only(tree)
    return [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) and n not in skipped]


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def is_house(name: str) -> bool:
    return name.split(".")[0] == "flambeau"


def test_the_package_is_there() -> None:
    assert len(parsed()) > 10


def test_imports_run_one_way() -> None:
    wrong = []
    for path, tree in parsed().items():
        mine = module_of(path)
        for node in imports(tree):
            for name in imported(node, path):
                if is_house(name) and floor_of(name) > floor_of(mine):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name}, a floor above it")
    assert not wrong, "\n".join(wrong)


def named_later(tree: ast.Module) -> dict[str, str]:
    """The names at the top of a file that stand for modules imported later, and those modules."""
    return {
        node.targets[0].id: node.value.args[0].value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "later"
        and isinstance(node.value.args[0], ast.Constant)
    }  # fmt: skip


def test_what_is_imported_later_exists_and_runs_one_way() -> None:
    wrong = []
    for path, tree in parsed().items():
        names = named_later(tree)
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "later"]
        if len(calls) != len(names):
            wrong.append(f"{path.relative_to(ROOT)}: `later` is for names at the top of a file")
        for module in names.values():
            if floor_of(module) > floor_of(module_of(path)):
                wrong.append(f"{path.relative_to(ROOT)} names {module}, a floor above it")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                home = import_module(names[node.value.id])
                if not hasattr(home, node.attr):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {home.__name__} has no {node.attr}")
    assert not wrong, "\n".join(wrong)


def test_no_house_imports_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name} inside {function.name}()"
        for path, tree in parsed().items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported(node, path)
        if is_house(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_optional_packages_are_imported_only_inside_functions() -> None:
    import sys

    wrong = []
    for path, tree in parsed().items():
        inside = {child for function in functions(tree) for child in ast.walk(function)}
        for node in imports(tree):
            for name in imported(node, path):
                top = name.split(".")[0]
                known = is_house(name) or top in REQUIRED or top in sys.stdlib_module_names
                if not known and node not in inside:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name} at its top")
    assert not wrong, "\n".join(wrong)


def test_the_package_never_imports_torch() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in parsed().items()
        for node in imports(tree)
        for name in imported(node, path)
        if name.split(".")[0] in ("torch", "torchvision")
    ]
    assert not wrong, "\n".join(wrong)


def test_every_file_says_what_it_is_for() -> None:
    silent = [str(p.relative_to(ROOT)) for p, tree in parsed().items() if not ast.get_docstring(tree)]
    assert not silent, "no docstring at the top of:\n" + "\n".join(silent)


def source_files() -> list[Path]:
    folders = ("flambeau", "tests", "examples", "benchmarks")
    return [p for folder in folders for p in (ROOT / folder).rglob("*.py")]


def test_files_are_short() -> None:
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in source_files()}
    long = [f"{n:5d}  {p}" for p, n in sorted(lengths.items(), key=lambda item: -item[1]) if n >= MAX_FILE]
    assert not long, f"files of {MAX_FILE} lines or more:\n" + "\n".join(long)


def test_functions_are_short() -> None:
    long = [
        f"{code_lines(f):4d}  {path.relative_to(ROOT)}:{f.lineno} {f.name}"
        for path, tree in parsed().items()
        for f in functions(tree)
        if code_lines(f) >= MAX_FUNCTION
    ]
    assert not long, f"functions of {MAX_FUNCTION} lines or more:\n" + "\n".join(sorted(long, reverse=True))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring: a long list of arguments or documentation is easy to read."""
    assert function.end_lineno is not None
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        body = body[1:]
    return function.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "README.zh.md", "CHANGELOG.md", "Makefile"])
def test_repository_has(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0
