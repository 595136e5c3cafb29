"""The report of `flambeau explain` as lines of text."""

from __future__ import annotations

import linecache
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median

from flambeau.cli.observing import Seen
from flambeau.engine import listing
from flambeau.engine.kernel import listing as nests
from flambeau.engine.plan import HostCall, Launch
from flambeau.engine.program import Program
from flambeau.engine.runtime import peak
from flambeau.engine.runtime.cores import get_num_threads
from flambeau.errors import UserLine

WIDTH = 110


def overview(segments: Sequence[Seen]) -> Iterator[str]:
    """What ran, and on what."""
    flops, copy = peak.flops(), peak.copy()
    threads = get_num_threads()
    yield _title("What ran")
    yield ""
    yield "A segment is a stretch of ops that were recorded together, up to where the script looked at a result."
    yield ""
    yield f"  {'segment':>7}  {'ops':>5}  {'by reference':>22}  {'compiled':>22}  {'Python before it':>16}  from"
    for nr, s in enumerate(segments, 1):
        path = s.segment.path()
        by_reference, compiled = _runs(s.by_reference, len(s.by_reference)), _runs(s.whole, s.compiled)
        python = _time(median(s.python)) if s.python else ""
        yield f"  {nr:>7}  {len(path):>5}  {by_reference:>22}  {compiled:>22}  {python:>16}  {_where(path[0].line)}"
    yield ""
    yield (
        f"This machine, {threads} thread{'s' * (threads > 1)}: multiply-adds at {flops.all:.0f} GFLOP/s, "
        f"copies at {copy.all:.0f} GB/s."
    )


def _runs(times: Sequence[int], count: int) -> str:
    if not count:
        return "-"
    return f"{count} x {_time(median(times))}" if times else f"{count} x"


def segment_lines(nr: int, seen: Seen) -> Iterator[str]:
    """All about one segment."""
    program = seen.program
    yield ""
    yield _title(f"Segment {nr}: what was recorded")
    yield ""
    yield from _recorded(seen, program)
    if program is None:
        yield ""
        yield "It ran by the NumPy references only: no program was made of it."
        return
    yield ""
    yield _title(f"Segment {nr}: how it was fused")
    yield ""
    yield from _launches(seen, program)
    yield ""
    yield _title(f"Segment {nr}: memory")
    yield ""
    yield from _memory(program)
    yield ""
    yield _title(f"Segment {nr}: kernels")
    yield from _kernels(program)


# -- what was recorded ---------------------------------------------------------------------------------------------


def _recorded(seen: Seen, program: Program | None) -> Iterator[str]:
    segment = seen.segment
    yield "Values from outside, as they are first read:"
    outside = [f"%{n} {what}" for n, what in listing.inputs_of(segment).items()]
    yield from _columns(outside)
    yield ""
    yield "What was called, and the launches (see below) that compute it:"
    places = listing.launches_of(program) if program is not None else None
    ops = [*zip(listing.ops_of(segment), places or [[] for _ in segment.path()])]
    for line, group in groupby(ops, key=lambda found: found[0].line):
        yield ""
        yield f"{_where(line)}:  {_source(line)}"
        for op, launches in group:
            yield from _op(op, ",".join(map(str, launches)) if launches else "-" if places is not None else "")
    if places is not None and not all(places):
        yield "- : nobody could see the result, so it was not computed"


def _columns(items: Sequence[str]) -> Iterator[str]:
    """Items side by side."""
    wide = max(map(len, items), default=0) + 3
    each = max(1, WIDTH // wide)
    for at in range(0, len(items), each):
        yield "  " + "".join(f"{x:<{wide}}" for x in items[at : at + each]).rstrip()


def _op(op: listing.Op, where: str) -> Iterator[str]:
    result = f"{op.result} = " if op.result else ""
    yield from textwrap.wrap(f"{result}{op.call}", WIDTH, initial_indent=f"{where:>7}  ", subsequent_indent=" " * 13)


def _where(line: UserLine | None) -> str:
    return f"{os.path.basename(line[0])}:{line[1]}" if line is not None else "?"


def _source(line: UserLine | None) -> str:
    return linecache.getline(*line).strip() if line is not None else ""


# -- how it was fused ------------------------------------------------------------------------------------------------


def _launches(seen: Seen, program: Program) -> Iterator[str]:
    names = {key: f"k{nr}" for nr, key in enumerate(listing.kernels_of(program.plan))}
    times = seen.launch_times()
    total = sum(times)
    yield f"  {'launch':>6}  {'kernel':<6}  {'tasks':>5}  {'time':>9}  {'share':>6}  {'rate':>12}  {'of peak':>7}  what"
    for nr, step in enumerate(program.plan.steps):
        taken = times[nr] if times else 0.0
        kernel, tasks = (names[step.kernel.key], str(step.tasks)) if isinstance(step, Launch) else ("host", "")
        yield (
            f"  {nr:>6}  {kernel:<6}  {tasks:>5}  {_time(taken) if times else '':>9}  "
            f"{f'{taken / total:.1%}' if times else '':>6}  {_rate(step, taken)}  {listing.note(step)}"
        )
    if not times:
        return
    yield ""
    yield "Of peak: of multiply-adds or of copies in memory, whichever is nearer; caches are faster than memory."
    yield ""
    yield f"All launches one by one: {_time(total)}."
    if seen.whole:
        yield f"The whole program in one native call: {_time(median(seen.whole))}, binding its memory included."
    if seen.python:
        python = _time(median(seen.python))
        yield f"In Python between the run before and this one (the script, and recording): {python}."
    worked = sum(step.work[0] for step in program.plan.steps if isinstance(step, Launch))
    yield f"{worked / 1e6:.1f} million operations in all: {worked / total:.1f} GFLOP/s."


def _rate(step: Launch | HostCall, taken: float) -> str:
    """The speed of a launch in what limits it, and its share of what the machine can reach."""
    if isinstance(step, HostCall) or not taken or not any(step.work):
        return f"{'':>12}  {'':>7}"
    flops, nbytes = (work / taken for work in step.work)
    computing, moving = flops / peak.flops().all, nbytes / peak.copy().all
    speed = f"{flops:.1f} GFLOP/s" if computing >= moving else f"{nbytes:.1f} GB/s"
    return f"{speed:>12}  {max(computing, moving):>7.0%}"


def _memory(program: Program) -> Iterator[str]:
    plan, inputs = program.plan, program.graph.inputs
    written = len({n for n, _ in program.written})
    yield f"  from outside   {len(inputs):>4} values  {_bytes(sum(inputs)):>10}, {written} of them written in place"
    yield f"  handed out     {len(plan.outputs):>4} values  {_bytes(sum(plan.outputs.values())):>10}"
    steps = program.graph.steps
    made = sum(program.graph.sizes.get(n, 0) for step in steps for n in getattr(step, "outputs", ()))
    yield f"  scratch                     {_bytes(plan.arena):>10}; all results apart would take {_bytes(made)}"


# -- kernels ---------------------------------------------------------------------------------------------------------


def _kernels(program: Program) -> Iterator[str]:
    for nr, launches in enumerate(listing.kernels_of(program.plan).values()):
        first = program.plan.steps[launches[0]]
        assert isinstance(first, Launch)
        yield ""
        yield f"k{nr}: {first.note}   (launch {', '.join(map(str, launches))})"
        yield from _columns([f"  {x}" for x in listing.arguments(first, program)])
        yield ""
        if first.kernel.nest is not None:
            yield from (f"    {line}" for line in nests.text(first.kernel.nest))
        else:
            key = _shortened(first.kernel.key)
            yield from textwrap.wrap(key, WIDTH, initial_indent="    ", subsequent_indent="      ")


def _shortened(key: str) -> str:
    """A kernel's key without the middle of long lists."""
    return re.sub(r"\((-?\d+), (-?\d+)(?:, -?\d+){6,}, (-?\d+)\)", r"(\1, \2, ... \3)", key)


# -- words -----------------------------------------------------------------------------------------------------------


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _time(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds / 1e3:.1f} us"


def _bytes(n: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} bytes"
