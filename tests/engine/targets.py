"""Compiles the kernels of every op of the registry for another machine, without running them.

    python -m tests.engine.targets aarch64            # or haswell, nvptx: reports what does not compile

A process of its own, because generators ask for the vector width once, and because LLVM may abort where a target lacks an
instruction: what was being compiled then is the last line of the output.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Target(NamedTuple):
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    calls: str  # a pattern of the assembly's calls of other code


TARGETS = {
    "aarch64": Target("aarch64-unknown-linux-gnu", "neoverse-n1", "", 16, r"^\s+bl?\s+([A-Za-z_]\w*)"),
    "haswell": Target("x86_64-unknown-linux-gnu", "haswell", "", 32, r"^\s+(?:call|jmp)q?\s+([A-Za-z_]\w*)"),
    "nvptx": Target("nvptx64-nvidia-cuda", "sm_90", "", 16, r"^\s*\.extern \.func.*?(\w+)\s*$"),
}
BATCH = 1 << 18  # characters of IR in a module
PLANNED = ("float32", "float64", "float16", "bfloat16", "complex64")  # what float samples are tried as


class Problem(NamedTuple):
    op: str
    kernel: str
    why: str


def kernels() -> Iterator[tuple[str, Any]]:
    """(op, kernel) for all kernels that samples of the registry need, each once."""
    from flambeau.engine.plan import Launch
    from flambeau.engine.schedule.planner import plan
    from flambeau.ops.op import ops

    seen = set()
    for name, op in sorted(ops.items()):
        if op.lower is None:
            continue
        for graph in graphs(op):
            for step in plan(graph).steps:
                if isinstance(step, Launch) and step.kernel.key not in seen:
                    seen.add(step.kernel.key)
                    yield name, step.kernel


def graphs(op: Any) -> Iterator[Any]:
    """A graph for each sample of an op, in every dtype that its shape rule accepts."""
    from flambeau import dtypes
    from flambeau.tensors import Tensor
    from tests.engine.planned import Recording
    from tests.ops.test_registry import samples_of

    for sample in samples_of(op):
        for kind in PLANNED:
            wanted = getattr(dtypes, kind)
            recording = Recording()
            arrays = [x._array() if isinstance(x, Tensor) else None for x in sample.inputs]
            floats = any(a is not None and a.dtype == np.float64 for a in arrays)
            if not floats and kind != PLANNED[0]:
                continue
            operands = [
                x if a is None else recording.input(a.astype(wanted.np) if a.dtype == np.float64 else a)
                for x, a in zip(sample.inputs, arrays)
            ]
            try:
                results = recording.call(op, *operands, **sample.params)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):
                continue  # this op refuses the dtype
            yield recording.graph(*(results if isinstance(results, list) else [results]))


def batches(target: Target) -> Iterator[tuple[list[tuple[str, Any]], str]]:
    """Kernels, and the module that holds them."""
    from flambeau.engine.runtime import jit

    held: list[tuple[str, Any]] = []
    texts: list[str] = []
    for op, kernel in kernels():
        held.append((op, kernel))
        texts.append(jit.kernel_ir(kernel))
        if sum(map(len, texts)) > BATCH:
            yield held, joined(texts)
            held, texts = [], []
    if held:
        yield held, joined(texts)


def joined(texts: list[str]) -> str:
    """Modules of one function as one module."""
    bodies, shared = [], {}
    for nr, text in enumerate(texts):
        for constant in set(re.findall(r"^@(\w+) =", text, re.MULTILINE)):
            text = re.sub(rf"@{constant}\b", f"@{constant}.{nr}", text)
        for line in text.splitlines():
            if line.startswith(("declare ", "attributes ")):
                shared[line] = None
            else:
                bodies.append(line)
    return "\n".join([*bodies, *shared]) + "\n"


def problems(name: str) -> Iterator[Problem]:
    """What of the registry does not compile for a target, or needs code that is not there."""
    from flambeau.engine.runtime import jit

    target = TARGETS[name]
    count = 0
    for held, module in batches(target):
        print(f"{len(held)} kernels from {held[0][0]} to {held[-1][0]}", flush=True)
        count += len(held)
        if trouble(target, module):
            for op, kernel in held:
                why = trouble(target, jit.kernel_ir(kernel))
                if why:
                    yield Problem(op, kernel.key[:160], why)
    print(f"{count} kernels in all", flush=True)


def trouble(target: Target, ir: str) -> str:
    """What is wrong with a module, if anything."""
    from flambeau.engine.runtime import codegen

    try:
        outside = calls(target, codegen.compile_for(*target[:3], ir))
    except RuntimeError as error:
        return str(error)
    return f"calls {', '.join(sorted(outside))}" if outside else ""


def calls(target: Target, assembly: str) -> set[str]:
    """The functions that code calls besides itself; a move of memory that the system provides is none."""
    defined = set(re.findall(r"^([A-Za-z_]\w*):", assembly, re.MULTILINE))
    found = set(re.findall(target.calls, assembly, re.MULTILINE))
    return {name for name in found if name not in defined and not name.startswith("mem")}


def main(name: str) -> int:
    os.environ["FLAMBEAU_VECTOR_BYTES"] = str(TARGETS[name].vector_bytes)
    found = list(problems(name))
    for problem in found:
        print(f"{problem.op}: {problem.why}\n    {problem.kernel}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
