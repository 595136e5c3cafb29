"""`flambeau explain`: run a script, then show what the engine made of it.

For the segment of ops that ran most often (a training step, as a rule): what was recorded, line by line; how it was
fused into kernels; the loops of each kernel; its memory; and where the time went, beside what the machine can reach.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from flambeau.cli import run
from flambeau.cli.arguments import Parser
from flambeau.cli.errors import UserError
from flambeau.cli.explain_text import overview, segment_lines
from flambeau.cli.observing import Observer, Seen
from flambeau.engine import execute
from flambeau.engine.plan import Kernel, Launch
from flambeau.engine.runtime import jit
from flambeau.engine.watching import watched

USAGE = "flambeau explain [OPTIONS] SCRIPT [ARGUMENTS ...]"


def _parser() -> Parser:
    parser = Parser(prog="flambeau explain", usage=USAGE, description=__doc__, allow_abbrev=False)
    parser.add_argument("--segment", type=int, metavar="N", help="the segment to show (default: what ran most often)")
    parser.add_argument("--all", action="store_true", help="show every segment that ran compiled")
    parser.add_argument("--ir", metavar="KERNEL", help="print the LLVM IR of a kernel, such as k3, and nothing else")
    parser.add_argument("--asm", metavar="KERNEL", help="print the assembly of a kernel, and nothing else")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, not a script")
    parser.add_argument("script", nargs=argparse.REMAINDER, metavar="SCRIPT", help="the script and its arguments")
    return parser


def main(argv: list[str]) -> int:
    """Run a script and report; returns the script's exit status."""
    if execute.mode() == "immediate":
        execute.set_mode("compiled")  # there is nothing to explain otherwise
    args = _parser().parse_args(argv)
    script = ["-m", *args.module] if args.module is not None else args.script
    if not script:
        raise UserError(f"which script? usage: {USAGE}")
    seen = Observer()
    with watched(seen):
        try:
            status = run.main(script)
        except SystemExit as stop:  # the script's own, as at its end
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    sys.stdout.flush()
    for line in _answer(args, seen):
        print(line)
    return status


def _answer(args: argparse.Namespace, seen: Observer) -> Iterator[str]:
    segments = seen.ordered()
    if not segments:
        raise UserError("the script recorded no ops")
    chosen = segments if args.all else [segments[_position(args.segment, len(segments))]]
    if args.ir or args.asm:
        kernel = _kernel(chosen[0], args.ir or args.asm)
        yield jit.optimized_ir(kernel) if args.ir else jit.assembly(kernel)
        return
    yield from overview(segments)
    for nr, one in enumerate(segments, 1):
        if one in chosen:
            yield from segment_lines(nr, one)


def _position(segment: int | None, count: int) -> int:
    if segment is None:
        return 0
    if not 1 <= segment <= count:
        raise UserError(f"there are segments 1 to {count}, not {segment}")
    return segment - 1


def _kernel(seen: Seen, name: str) -> Kernel:
    """The kernel that a report calls `name`: k0, k1 ..."""
    program = seen.program
    launches = [s for s in program.plan.steps if isinstance(s, Launch)] if program is not None else []
    kernels = list({launch.kernel.key: launch.kernel for launch in launches}.values())
    if not (name.startswith("k") and name[1:].isdigit() and int(name[1:]) < len(kernels)):
        raise UserError(f"no kernel {name!r} in this segment: it has k0 to k{len(kernels) - 1}")
    return kernels[int(name[1:])]
