"""The tests of the engine run compiled, in this process and in those that they start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from flambeau.engine import execute


@pytest.fixture(autouse=True)
def runs_compiled() -> Iterator[None]:
    given, mode = os.environ.get("FLAMBEAU_EXECUTION"), execute.mode()
    if given is None:
        os.environ["FLAMBEAU_EXECUTION"] = "compiled"
        execute.set_mode("compiled")
    yield
    if given is None:
        del os.environ["FLAMBEAU_EXECUTION"]
        execute.set_mode(mode)
