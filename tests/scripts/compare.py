"""Compare what two runs of a program printed: the words must be the same, the numbers nearly so."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HELPERS = {"compare", "make_golden", "test_scripts"}
PROGRAMS = sorted(path for path in HERE.glob("*.py") if path.stem not in HELPERS)

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?|\b(?:nan|inf)\b")
# Sums are rounded in another order than PyTorch's, and training makes such differences grow. On the machine that
# recorded, every program agrees within 1e-4 or its last digit; the rest is room for other BLAS kernels.
DEFAULT = 1e-4
TOLERANCE = {
    "distillation_swa": 1e-3,  # the kinks of multi_margin_loss and of hardswish: 1e-4 with the kernels of AVX-512
    "mnist_argparse": 1e-3,  # Adadelta divides by the roots of first gradients however small: a step of 1e-6 becomes 1e-4
    "unet": 1e-3,  # 12 normalized layers: PyTorch differs from itself by as much without oneDNN
}


def differences(printed: str, golden: str, rtol: float) -> list[str]:
    """The lines that differ: in their words, in an integer, or in a decimal number by more than rtol and its last digit."""
    ours, theirs = printed.splitlines(), golden.splitlines()
    found = [f"{len(ours)} lines printed, {len(theirs)} expected"] if len(ours) != len(theirs) else []
    for number, (one, other) in enumerate(zip(ours, theirs), 1):
        # PyTorch's columns are as wide as the longest number, and a last digit may be one longer.
        words = [" ".join(NUMBER.sub("#", line).split()) for line in (one, other)]
        if words[0] != words[1] or not all(map(near(rtol), NUMBER.findall(one), NUMBER.findall(other))):
            found.append(f"line {number}:\n  {one}\n  {other}")
    return found


def near(rtol: float):
    def check(one: str, other: str) -> bool:
        if re.fullmatch(r"[-+]?\d+", other):
            return one == other
        digits = len(other.partition(".")[2].partition("e")[0])
        last_digit = 0 if "e" in other else 1.01 * 10.0**-digits
        return math.isclose(float(one), float(other), rel_tol=rtol, abs_tol=last_digit) or one == other

    return check


def check(printed: str, golden: str, program: Path) -> None:
    found = differences(printed, golden, TOLERANCE.get(program.stem, DEFAULT))
    if found:
        pytest.fail(f"{program.name} prints other numbers; ours first:\n" + "\n".join(found[:12]), pytrace=False)
