"""The tests of the engine run compiled, in this process and in those that they start."""

from __future__ import annotations

import os

from flambeau.engine import execute

if "FLAMBEAU_EXECUTION" not in os.environ:
    os.environ["FLAMBEAU_EXECUTION"] = "compiled"


def pytest_runtest_setup(item: object) -> None:
    if execute.mode() == "immediate":
        execute.set_mode("compiled")


def pytest_runtest_teardown(item: object) -> None:
    execute.set_mode("immediate")
