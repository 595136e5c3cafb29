"""Same seed, same numbers: what PyTorch gave, recorded in golden.json (see make_golden.py)."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flambeau
from tests.random import cases
from tests.random.record import array_of, record, run

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
# Double-precision log, sin ... are the C library's, whose last bits differ between libraries.
SAME_LIBM = platform.libc_ver()[0] == "glibc"
_NUMPY = {"torch.bfloat16": np.dtype(ml_dtypes.bfloat16)}


def _assert_same(mine: dict[str, Any], theirs: dict[str, Any], case: str, seed: int = 11) -> None:
    bits, theirs_bits = mine.pop("bytes"), dict(theirs)["bytes"]
    assert mine == {k: v for k, v in theirs.items() if k != "bytes"}
    if bits == theirs_bits:
        return
    got = array_of(run(case, flambeau, seed))
    dtype = _NUMPY.get(theirs["dtype"]) or np.dtype(theirs["dtype"].split(".")[1])
    want = np.frombuffer(bytes.fromhex(theirs_bits), dtype).reshape(theirs["shape"])
    assert not SAME_LIBM or any(name in case for name in cases.NEARLY), f"{got} instead of {want}"
    rtol = 1e-3 if dtype.itemsize == 2 else 1e-6
    np.testing.assert_allclose(got.astype(np.complex128), want.astype(np.complex128), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("case", list(cases.all_cases()))
def test_numbers_layout_and_state_are_pytorchs(case: str) -> None:
    _assert_same(record(case, flambeau), GOLDEN["cases"][case], case)


@pytest.mark.parametrize("case", cases.PROGRAMS)
def test_initialisation_dropout_and_loading_draw_pytorchs_numbers(case: str) -> None:
    _assert_same(record(case, flambeau), GOLDEN["programs"][case], case)


def test_the_recording_covers_the_cases() -> None:
    assert set(GOLDEN["cases"]) == set(cases.all_cases())
    assert set(GOLDEN["programs"]) == set(cases.PROGRAMS)
    assert set(GOLDEN["large"]) == set(cases.LARGE)
    assert set(GOLDEN["errors"]) == set(cases.ERRORS)


@pytest.mark.parametrize("case", cases.LARGE)
def test_large_tensors(case: str) -> None:
    mine = record(case, flambeau, digest=True)
    if not SAME_LIBM and "float64" in case:
        mine["bytes"] = GOLDEN["large"][case]["bytes"]
    assert mine == GOLDEN["large"][case]


@pytest.mark.parametrize("seed", cases.SEEDS)
def test_seeds(seed: int) -> None:
    assert record("t.rand(5)", flambeau, seed) == GOLDEN["seeds"][str(seed)]


@pytest.mark.parametrize("case", cases.ERRORS)
def test_errors_are_pytorchs(case: str) -> None:
    kind, text = GOLDEN["errors"][case]
    with pytest.raises(Exception) as caught:
        eval(case, {"t": flambeau})
    assert (type(caught.value).__name__, str(caught.value)) == (kind, text)


def test_issue_example_prints_what_pytorch_prints() -> None:
    flambeau.manual_seed(0)
    assert repr(flambeau.randn(3)) == "tensor([ 1.5410, -0.2934, -2.1788])"
