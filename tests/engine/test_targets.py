"""Every kernel of the registry compiles for other machines, and needs no code that is not there.

Compiled, not run: AArch64 with 16-byte vectors, x86-64 with 32-byte ones, and NVIDIA's PTX.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.targets import TARGETS, calls, joined

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_every_kernel_compiles(name):
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.targets", name], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    count = int(done.stdout.splitlines()[-1].split()[0])
    assert count > 2000


REMAINDER = """
    define void @kernel(ptr %p) {
      %x = load double, ptr %p
      %y = frem double %x, 3.0
      store double %y, ptr %p
      ret void
    }
"""


@pytest.mark.parametrize("name", TARGETS)
def test_calls_are_noticed(name):
    from flambeau.engine.runtime import codegen

    target = TARGETS[name]
    module = joined(["@c = private constant i32 1\ndefine ptr @f() {\n  ret ptr @c\n}\n", REMAINDER])
    if name == "nvptx":  # which computes remainders itself
        module = "declare void @outside()\ndefine void @kernel() {\n  call void @outside()\n  ret void\n}\n"
    assert calls(target, codegen.compile_for(*target[:3], module)) == {"outside" if name == "nvptx" else "fmod"}
