"""Large results are written past the caches; here everything is taken for large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.graph import Meta
from flambeau.engine.kernel import move, move_tiles, nest
from flambeau.engine.plan import Launch
from flambeau.ops.op import ops
from tests.engine import test_schedule_random
from tests.engine.harness import Bench, native, reference
from tests.engine.planned import Recording

SHAPES = [(70,), (5, 64), (3, 66), (2, 3, 130), (4, 257), (3, 2, 96), (300, 80)]


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nest, "last_cache", lambda: 0)
    monkeypatch.setattr(move, "last_cache", lambda: 0)
    monkeypatch.setattr(move_tiles, "cache_sizes", lambda: (0, 0))


def streamed(steps: Any) -> list[bool]:
    return ["streamed" in step.kernel.key for step in steps if isinstance(step, Launch)]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("d", [dtypes.float32, dtypes.float64, dtypes.float16])
def test_random_program(seed: int, d: dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_schedule_random, "SHAPES", SHAPES)
    program = test_schedule_random.Program(seed, d)
    for _ in range(8):
        program.step()
    g, wanted = program.result()
    if d is dtypes.float16:
        for fused, single in zip(g.run(*wanted), g.run(*wanted, fuse=False), strict=True):
            np.testing.assert_array_equal(fused, single)
    else:
        g.check(*wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(9, 128), (9, 131), (7, 1000)])
def test_rows_that_begin_in_the_middle_of_a_line(shape: tuple[int, int]) -> None:
    g = Recording()
    y = g.call(ops["softmax"], g.input(np.random.default_rng(0).standard_normal(shape, np.float32)), dim=1)
    assert streamed(g.check(y).steps) == [True]


def test_what_is_read_as_well_stays_near() -> None:
    g = Recording()
    x = g.input(np.ones(4096, np.float32))
    assert streamed(g.check(g.write(x, g.call(ops["mul"], x, 0.5))).steps) == [False]


def test_what_is_written_over_may_begin_anywhere() -> None:
    g = Recording()
    memory, x = g.input(np.zeros(1300, np.float32)), g.input(np.ones(1024, np.float32))
    for offset in (0, 3, 17):
        memory = g.write(memory.view((1024,), offset=offset), g.call(ops["exp"], x))
    assert all(streamed(g.check(memory).steps))


def test_results_that_lie_alike_go_together() -> None:
    g = Recording()
    x = g.input(np.ones((8, 256), np.float32))
    y, z = g.call(ops["mul"], x, 0.5), g.call(ops["exp"], x)
    (launch,) = g.check(y, z).steps
    assert launch.kernel.nest is not None and len(launch.kernel.nest.streamed) == 2


MOVES: dict[str, Callable[[], tuple[Any, list[Any], dict[str, Any]]]] = {
    "clone": lambda: (ops["clone"], [torch.randn(5, 7, 130)], {"strides": (7 * 130, 130, 1)}),
    "backwards": lambda: (ops["flip"], [torch.randn(5, 131)], {"dims": (1,)}),
    "every third": lambda: (ops["clone"], [torch.randn(5, 1300)[:, 1::3]], {"strides": (433, 1)}),
    "pixels": lambda: (ops["clone"], [torch.randn(2, 3, 9, 77).permute(0, 2, 3, 1)], {"strides": (2079, 231, 3, 1)}),
    "colours": lambda: (ops["clone"], [torch.randn(2, 12, 64, 3).permute(0, 3, 1, 2)], {"strides": (2304, 768, 64, 1)}),
    "odd colours": lambda: (ops["clone"], [torch.randn(2, 9, 77, 3).permute(0, 3, 1, 2)], {"strides": (2079, 693, 77, 1)}),
    "stack": lambda: (ops["stack"], [torch.randn(5, 131) for _ in range(4)], {"dim": 2}),
    "stack of three": lambda: (ops["stack"], [torch.randn(5, 144) for _ in range(3)], {"dim": 2}),
    "transpose": lambda: (ops["clone"], [torch.randn(80, 144).t()], {"strides": (80, 1)}),
    "ragged transpose": lambda: (ops["clone"], [torch.randn(3, 96, 77).mT], {"strides": (77 * 96, 96, 1)}),
    "transpose of doubles": lambda: (ops["clone"], [torch.randn(40, 90).double().t()], {"strides": (40, 1)}),
    "transpose of halves": lambda: (ops["clone"], [torch.randn(160, 300).half().t()], {"strides": (160, 1)}),
    "transpose of bytes": lambda: (ops["clone"], [(torch.randn(320, 90) * 50).to(torch.uint8).t()], {"strides": (320, 1)}),
    "ragged transpose of bytes": lambda: (ops["clone"], [(torch.randn(299, 90) * 50).to(torch.uint8).t()],
                                          {"strides": (299, 1)}),
    "transpose of several blocks": lambda: (ops["clone"], [torch.randn(176, 601).t()], {"strides": (176, 1)}),
    "transposes of short rows": lambda: (ops["clone"], [torch.randn(3, 300, 40).mT], {"strides": (12000, 300, 1)}),
    "outermost and innermost": lambda: (ops["clone"], [torch.randn(64, 5, 32).permute(2, 1, 0)],
                                        {"strides": (320, 5, 1)}),
    "join": lambda: (ops["cat"], [torch.randn(5, n) for n in (64, 77, 130)], {"dim": 1}),
    "roll": lambda: (ops["roll"], [torch.randn(9, 200)], {"shifts": (3,), "dims": (1,)}),
    "long rows": lambda: (ops["roll"], [torch.randn(9, 500)], {"shifts": (3,), "dims": (1,)}),
    "padded rows": lambda: (ops["constant_pad_nd"], [torch.randn(7, 45, 66)], {"pad": (1, 2, 1, 1), "value": 0.5}),
    "padded rows of doubles": lambda: (ops["constant_pad_nd"], [torch.randn(3, 300, 30).double()],
                                       {"pad": (3, 0), "value": 0.5}),
    "reflected rows": lambda: (ops["pad_from_itself"], [torch.randn(70, 9, 37)],
                               {"pads": ((0, 0), (1, 1), (1, 1)), "mode": "reflect"}),
    "reflected short rows": lambda: (ops["pad_from_itself"], [torch.randn(900, 11)],
                                     {"pads": ((0, 0), (1, 0)), "mode": "reflect"}),
    "running sum": lambda: (ops["cumsum"], [torch.randn(3, 9, 2064)], {"dim": 1}),
    "running maximum": lambda: (ops["cummax"], [torch.randn(9, 192)], {"dim": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("threads", [1, 3])
def test_moves(name: str, threads: int) -> None:
    op, inputs, params = MOVES[name]()
    for got, expected in zip(native(op, *inputs, threads=threads, **params), reference(op, *inputs, **params)):
        np.testing.assert_allclose(got, expected, 1e-6)


@pytest.mark.parametrize("d", [dtypes.float64, dtypes.float32, dtypes.bfloat16, dtypes.uint8])
@pytest.mark.parametrize("offset", [0, 1, 5])
def test_casts_into_windows_that_begin_anywhere(d: dtype, offset: int) -> None:
    x = torch.randn(6, 400).abs() * 50
    bench = Bench([x], [Meta((6, 600), d)])
    held = move.Window(bench.result(), (600, 1), d)
    move.fill(bench, (6, 600), held, 0)
    move.copy(bench, (6, 400), held.part(offset), move.window(bench, bench.operand(x, [x])))
    (got,) = bench.results()
    want = np.zeros((6, 600), d.np)
    want[:, offset : offset + 400] = x.numpy().astype(d.np)
    np.testing.assert_array_equal(got, want)
    assert all("streamed" in kernel.key for kernel, _, _ in bench.launches)


@pytest.mark.parametrize("offset", [0, 1, 16])
@pytest.mark.parametrize("order", [(0, 2, 1), (1, 2, 0), (2, 0, 1)])
def test_turned_copies_into_windows_that_begin_anywhere(order: tuple[int, int, int], offset: int) -> None:
    x = torch.randn(3, 96, 80).permute(order)
    shape = tuple(x.shape)
    strides = (shape[1] * shape[2], shape[2], 1)
    bench = Bench([x], [Meta((3 * 96 * 80 + 16,), dtypes.float32)])
    held = move.Window(bench.result(), (1,), dtypes.float32)
    move.fill(bench, (3 * 96 * 80 + 16,), held, 0)
    move.copy(bench, shape, held.part(offset, strides), move.window(bench, bench.operand(x, [x])))
    (got,) = bench.results()
    want = np.zeros_like(got)
    want[offset : offset + 3 * 96 * 80] = x.numpy().ravel()
    np.testing.assert_array_equal(got, want)
    assert all("streamed" in kernel.key for kernel, _, _ in bench.launches)
