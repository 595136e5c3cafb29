"""`flambeau run`: an unchanged PyTorch script, with Flambeau in the place of torch and torchvision."""

from __future__ import annotations

import os
import runpy
import sys

from flambeau import compat
from flambeau.cli.errors import UserError

USAGE = "usage: flambeau run SCRIPT [ARGUMENTS ...]\n       flambeau run -m MODULE [ARGUMENTS ...]"


def main(argv: list[str]) -> int:
    """Run `argv` as `python` would; a script's own exceptions and exit status are passed on."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n{__doc__}", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "-m":
        if len(argv) < 2:
            raise UserError("-m needs the name of a module")
        compat.install()
        sys.argv = argv[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        return 0
    script = argv[0]
    if not os.path.isfile(script):
        raise UserError(f"there is no script {script}")
    compat.install()
    sys.argv = list(argv)
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")
    return 0
