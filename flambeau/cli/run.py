"""`flambeau run`: an unchanged PyTorch script, with Flambeau in the place of torch and torchvision."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing import spawn
from types import ModuleType, TracebackType
from typing import Any

from flambeau import compat
from flambeau.cli.errors import UserError
from flambeau.engine import execute

USAGE = "usage: flambeau run SCRIPT [ARGUMENTS ...]\n       flambeau run -m MODULE [ARGUMENTS ...]"


def main(argv: list[str]) -> int:
    """Run `argv` as `python` would: with the script's exit status, and its exceptions shown from its own lines."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n{__doc__}", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "-m":
        if len(argv) < 2:
            raise UserError("-m needs the name of a module")
        return _guarded(lambda: _run_module(argv[1:]))
    if not os.path.isfile(argv[0]):
        raise UserError(f"there is no script {argv[0]}")
    return _guarded(lambda: _run_script(argv))


def stand_in() -> None:
    """Put Flambeau in torch's place, here and in the processes that `multiprocessing` will spawn.

    A spawned process imports the script again before it does anything else. What it is sent first is pickled, so
    something whose unpickling calls this function goes with it.
    """
    compat.install()
    original = spawn.get_preparation_data
    spawn.get_preparation_data = lambda name: {**original(name), "flambeau": _StandInOnArrival()}


class _StandInOnArrival:
    def __reduce__(self) -> tuple:
        return stand_in, ()


def _run_script(argv: list[str]) -> None:
    path = os.path.abspath(argv[0])
    with open(path, "rb") as file:
        code = compile(file.read(), argv[0], "exec", dont_inherit=True)
    stand_in()
    execute.repeatably()
    module = ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    sys.argv = list(argv)
    sys.path.insert(0, os.path.dirname(path))
    exec(code, module.__dict__)


def _run_module(argv: list[str]) -> None:
    stand_in()
    sys.argv = list(argv)
    sys.path.insert(0, os.getcwd())
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _guarded(body: Callable[[], Any]) -> int:
    try:
        body()
    except Exception as error:
        trace = _outside(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 1
    return 0


def _outside(trace: TracebackType | None) -> TracebackType | None:
    """Drop the leading frames that are this file's and runpy's."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        trace = trace.tb_next
    return trace
