"""What the emitter says to LLVM, and what LLVM makes of it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from flambeau.engine.kernel.emit import Emitter, vector
from flambeau.engine.runtime import jit


@pytest.mark.parametrize("wide, narrow", [("i32", "i16"), ("i32", "i8"), ("i16", "i8"), ("i64", "i32"), ("i64", "i16")])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_store_under_a_constant_mask_keeps_to_its_lanes(wide: str, narrow: str, count: int) -> None:
    width = 64 * 8 // int(wide[1:])
    k = Emitter("kernel")
    high = k.bits("lshr", k.load(k.pointer(0), 0, vector(wide, width)), 8)
    k.masked_store(k.cast(high, narrow), k.pointer(1), 0, k.mask(count, width))
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(jit.load(k.text(), "kernel"))
    source = np.full(64, 0x77, np.uint8)
    target = np.full(64, 0xA5, np.uint8)
    kernel(ctypes.addressof((ctypes.c_int64 * 2)(source.ctypes.data, target.ctypes.data)), 0, 1)
    written = count * int(narrow[1:]) // 8
    assert (target[:written] == 0x77).all() and (target[written:] == 0xA5).all()


@pytest.mark.parametrize("most, rounds", [(0, 0), (1, 1), (3, 3), (10, 5)])
@pytest.mark.parametrize("known", [True, False], ids=["constant", "argument"])
def test_a_loop_ends_where_its_condition_holds(most: int, rounds: int, known: bool) -> None:
    k = Emitter("kernel")
    with k.loop(most if known else k.integer(1), carried=[k.const("i64", 0)]) as loop:
        count = loop.carried[0] + 1
        loop.carry(count, until=count.equals(5))
    k.store(loop.results[0], k.pointer(0), 0)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(jit.load(k.text(), "kernel"))
    found = np.full(1, -1)
    kernel(ctypes.addressof((ctypes.c_int64 * 2)(found.ctypes.data, most)), 0, 1)
    assert found[0] == rounds
