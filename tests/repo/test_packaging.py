"""What a user installs: every data file is in it, the command exists, the dependencies are the promised ones."""

from __future__ import annotations

import importlib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import flambeau
from flambeau._version import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_data_file_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [p for p in (ROOT / "flambeau").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert any(p.name == "py.typed" for p in files)
    left_out = []
    for path in files:
        package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        if not any(fnmatch(str(path.relative_to(package)), pattern) for pattern in patterns):
            left_out.append(str(path.relative_to(ROOT)))
    assert not left_out, f"add to package-data in pyproject.toml: {left_out}"


def test_every_folder_with_code_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "flambeau").rglob("*.py")}
    assert not [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()]


def test_the_command_is_callable() -> None:
    module, function = PROJECT["project"]["scripts"]["flambeau"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_dependencies_are_the_five() -> None:
    names = [re.split(r"[<>=]", d)[0] for d in PROJECT["project"]["dependencies"]]
    assert names == ["numpy", "llvmlite", "ml_dtypes", "pillow", "tqdm"]


def test_llvm_reads_what_the_emitter_writes() -> None:
    """Masked loads name their alignment as LLVM 22 does, which older ones refuse; llvmlite has it from 0.48 on."""
    (floor,) = [d for d in PROJECT["project"]["dependencies"] if d.startswith("llvmlite")]
    assert tuple(map(int, floor.partition(">=")[2].split("."))) >= (0, 48)


def test_version_is_written_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert flambeau._version.__version__ == __version__
    assert "version" in PROJECT["project"]["dynamic"]
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
