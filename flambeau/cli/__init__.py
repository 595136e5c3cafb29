"""The `flambeau` command: train, eval, predict, summary, run and explain.

Each subcommand is a file here with `add_arguments(parser)` and `main(args)`; those that run a script take what is given
to them as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from flambeau._version import __version__
from flambeau.cli import evaluate, predict, run, summarize, train
from flambeau.cli.arguments import Parser
from flambeau.cli.errors import Interrupted, UserError
from flambeau.later import later

COMMANDS = {
    "train": (train, "train a network on images and test it"),
    "eval": (evaluate, "test a trained network"),
    "predict": (predict, "classify image files"),
    "summary": (summarize, "show the layers of a network"),
    "run": (None, "run an unchanged PyTorch script"),
    "explain": (None, "run a script, and show what its ops became: kernels, loops, memory, time"),
}
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
explain = later("flambeau.cli.explain")  # it looks into the compiler


def build_parser() -> Parser:
    parser = Parser(prog="flambeau", description="Deep learning with PyTorch's API in pure Python.")
    parser.add_argument("--version", action="version", version=f"flambeau {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if module is not None:
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Bad input gives one line on stderr and status 1 (2 where argparse finds it), Ctrl-C gives 130.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else ""
    try:
        if command == "run":  # its arguments are the script's
            return run.main(argv[1:])
        if command == "explain":
            return explain.main.now()(argv[1:])
        args = build_parser().parse_args(argv)
        return args.main(args)
    except UserError as error:
        print(f"flambeau {command}: error: {error.line()}", file=sys.stderr)
        return 1
    except Interrupted:
        print("interrupted; continue with --resume", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        if command in ("run", "explain"):
            raise
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
