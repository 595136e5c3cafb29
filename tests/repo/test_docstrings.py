"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import builtins
import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import flambeau
import flambeau.vision


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(flambeau.__path__, "flambeau.") if not m.name.endswith("__main__")]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    names = {**vars(flambeau.nn), **vars(flambeau)}
    names = {name: value for name, value in names.items() if not hasattr(builtins, name)}
    names |= {**vars(module), "torch": flambeau, "flambeau": flambeau}
    found = doctest.DocTestFinder(exclude_empty=True).find(module, globs=names)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False)
    failures: list[str] = []
    for test in examples(module):
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_there_are_examples() -> None:
    assert sum(len(examples(importlib.import_module(name))) for name in modules()) > 50
