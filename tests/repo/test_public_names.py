"""The names that public programs use most (`public_names.txt`) all exist, where those programs look for them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import flambeau

NAMES = Path(__file__).with_name("public_names.txt")


def owners(name: str) -> tuple[list[Any], list[str]]:
    """The objects a name must be found on, and the path from there: `Tensor|Module.to` is one of both."""
    first, _, rest = name.partition(".")
    if first == "torchvision":
        return [importlib.import_module("flambeau.vision")], rest.split(".")
    if first == "torch":
        return [flambeau], rest.split(".") if rest else []
    classes = {"Tensor": flambeau.Tensor, "Module": flambeau.nn.Module}
    return [classes[c] for c in first.split("|")], rest.split(".")


def exists(name: str) -> bool:
    found, path = owners(name)
    return all(_has(owner, path) for owner in found)


def _has(owner: Any, path: list[str]) -> bool:
    for part in path:
        if not hasattr(owner, part):
            if part in getattr(owner, "__annotations__", {}):  # set by __init__
                return True
            try:
                importlib.import_module(f"{owner.__name__}.{part}")
            except (ImportError, AttributeError):
                return hasattr(owner, "__init__") and part in _instance_names(owner)
        owner = getattr(owner, part)
    return True


def _instance_names(owner: Any) -> Iterable[str]:
    return dir(flambeau.nn.Module()) if owner is flambeau.nn.Module else ()


@pytest.mark.parametrize("name", NAMES.read_text().split())
def test_name_exists(name: str) -> None:
    assert exists(name), f"{name} is missing"


def report(table: str) -> None:
    """Print how many of a table's names (name, repositories, files) exist, by how many repositories use them."""
    rows = [line.split("\t") for line in Path(table).read_text().splitlines()[1:]]
    missing = {name for name, *_ in rows if not exists(name)}
    for least in (5, 3, 2, 1):
        names = [name for name, repositories, _ in rows if int(repositories) >= least]
        there = sum(name not in missing for name in names)
        print(f">= {least} repositories: {there} of {len(names)} ({100 * there / len(names):.1f} %)")
    for name, repositories, _ in rows:
        if name in missing and int(repositories) > 1:
            print(f"  missing, used by {repositories}: {name}")


if __name__ == "__main__":
    report(sys.argv[1])
