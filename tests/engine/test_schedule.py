"""The scheduler: single ops against their references, what fuses with what, hazards of writes, memory, and its own cost."""

from __future__ import annotations

import cProfile
from typing import Any

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.plan import HostCall, Plan
from flambeau.engine.schedule.lowering import Composite
from flambeau.engine.schedule.memory import arrange
from flambeau.engine.schedule.planner import plan
from flambeau.ops.nn.normalize import _batch_form, _layer_form
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.planned import Recording, Ref

random = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def maker(*shape: int, dtype: dtype = dtypes.float32, low: float = -2.0, high: float = 2.0, **_: Any) -> Tensor:
    if dtype.category < dtypes.FLOAT:
        return from_array(np.asarray(random.integers(int(low), int(high), shape)).astype(dtype.np))
    return from_array(np.asarray(random.uniform(low, high, shape)).astype(dtype.np))


def names(made: Plan) -> list[str]:
    return [f"host {s.call.op.name}" if isinstance(s, HostCall) else s.note for s in made.steps]


COMPOSITES = [name for name, op in ops.items() if isinstance(op.lower, Composite) and op.samples is not None]


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_over_its_samples(name: str) -> None:
    for sample in ops[name].samples(maker):  # type: ignore[misc]
        g = Recording()
        given = [g.input(x._array()) if isinstance(x, Tensor) else x for x in sample.inputs]
        made = g.call(ops[name], *given, **sample.params)
        g.check(*(made if isinstance(made, list) else [made]))


REDUCED = [
    ((5,), (0,)), ((3, 7), (1,)), ((3, 7), (0,)), ((2, 3, 4), (1,)), ((40, 50, 60), (0, 2)), ((40, 50, 60), (1,)),
    ((100000,), (0,)), ((3, 33000), (1,)), ((40000, 7), (0,)), ((2000, 130), (0,)), ((17, 5000), (1,)), ((0, 3), (0,)),
    ((1, 1), (0,)), ((), ()), ((3, 2, 3, 2, 3), (1, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "dim"), REDUCED)
@pytest.mark.parametrize("name", ["sum", "mean", "logsumexp", "all", "argmax"])
def test_reduction_with_work_around_it(name: str, shape: tuple, dim: tuple) -> None:
    g = Recording()
    x = g.call(ops["mul"], g.input(floats(*shape)), 3.0)
    if name == "argmax":
        if 0 in shape:
            return
        y = g.call(ops[name], x, dim=dim[0] if dim else 0, keepdim=False)
        g.check(y)
        return
    y = g.call(ops[name], x, dim=dim, keepdim=True)
    wanted = [y] if name == "all" else [g.call(ops["sub"], x, y), y]
    g.check(*wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "d", [dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.int32, dtypes.uint8, dtypes.bool_]
)
def test_dtypes(d: dtype) -> None:
    g = Recording()
    a, b = (g.input(random.integers(0, 5, (33, 70)).astype(d.np)) for _ in range(2))
    c = g.call(ops["add"], a, b)
    e = g.call(ops["mul"], c, g.call(ops["mul"], b, a))
    total = g.call(ops["sum"], e, dim=(1,), keepdim=True)
    top = g.call(ops["amax"], e, dim=(0,), keepdim=False)
    g.check(e, total, top)


def test_narrow_floats_round_after_every_op() -> None:
    g = Recording()
    x = g.input(floats(1000).astype(dtypes.bfloat16.np))
    y = x
    for _ in range(6):
        y = g.call(ops["add"], g.call(ops["mul"], y, 1.01), x)
    assert len(g.check(y).steps) == 1


def test_nan_and_infinity_in_extrema() -> None:
    x = floats(6, 50)
    x[0, 7], x[1, 3], x[1, 40], x[2, 0], x[3] = np.nan, np.inf, np.nan, -np.inf, -np.inf
    g = Recording()
    r = g.input(x)
    g.check(*g.call(ops["max"], r, dim=1, keepdim=False), *g.call(ops["min"], r, dim=1, keepdim=False),
            g.call(ops["softmax"], r, dim=1))  # fmt: skip


# -- what fuses ------------------------------------------------------------------------------------------------


def test_rows_take_one_kernel() -> None:
    g = Recording()
    x, r, w, b = g.input(floats(64, 96)), g.input(floats(64, 96)), g.input(floats(96)), g.input(floats(96))
    h = g.call(ops["add"], x, r)
    y, *_ = g.call(ops["standardize"], h, w, b, None, None, form=_layer_form((64, 96), (96,)), eps=1e-5)
    z = g.call(ops["tanh"], y)
    assert len(g.check(h, z, rtol=1e-4).steps) == 1


def test_layer_norm_backward_takes_two_passes_over_its_operands() -> None:
    g = Recording()
    form = _layer_form((64, 96), (96,))
    go, x, w = g.input(floats(64, 96)), g.input(floats(64, 96)), g.input(floats(96))
    mean, scale = g.input(floats(64, 1)), g.input(floats(64, 1))
    how = {"form": form, "fixed": False, "needs": (True, True, True)}
    made = g.check(*g.call(ops["standardize_backward"], go, x, w, mean, scale, **how), rtol=1e-4, atol=1e-4)
    assert len(made.steps) == 2


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (32, 16, 8, 8), (3, 40, 1, 1)])
def test_batch_norm_with_running_statistics(shape: tuple) -> None:
    g = Recording()
    channels = shape[1]
    x, w, b, go = g.input(floats(*shape)), g.input(floats(channels)), g.input(floats(channels)), g.input(floats(*shape))
    running = g.input(floats(channels))
    form = _batch_form(shape)
    y, mean, _, scale = g.call(ops["standardize"], x, w, b, None, None, form=form, eps=1e-5)
    moved = g.call(ops["running_statistic"], running, mean.view((channels,)), 0.9, 0.1, 1.0)
    g.write(running, moved)
    how = {"form": form, "fixed": False, "needs": (True, True, True)}
    grads = g.call(ops["standardize_backward"], go, x, w, mean, scale, **how)
    made = g.check(y, *grads, rtol=1e-3, atol=1e-3)
    assert len(made.steps) == 1


@pytest.mark.parametrize(("count", "classes"), [(4, 10), (128, 10), (40, 1000), (7, 9000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_and_its_gradient(count: int, classes: int, smoothing: float) -> None:
    g = Recording()
    x, target = g.input(floats(count, classes)), g.input(random.integers(0, classes, count))
    one = g.input(np.ones((), np.float32))
    how = {"reduction": "mean", "ignore_index": 3, "smoothing": smoothing}
    loss, log_p = g.call(ops["cross_entropy"], x, target, None, **how)
    g.check(loss, g.call(ops["cross_entropy_backward"], one, log_p, target, None, **how))
    assert not g.status[0]


def test_a_target_out_of_range_is_reported() -> None:
    g = Recording()
    x, target = g.input(floats(20, 10)), g.input(np.where(np.arange(20) == 13, 10, 1))
    loss, _ = g.call(ops["cross_entropy"], x, target, None, reduction="mean", ignore_index=-100, smoothing=0.0)
    g.run(loss)
    assert g.status[0] == 1


def test_products_take_elementwise_work_as_their_end() -> None:
    g = Recording()
    x, w, b, more = g.input(floats(8, 20)), g.input(floats(30, 20)), g.input(floats(30)), g.input(floats(8, 30))
    y = g.call(ops["linear"], x, w, b)
    z = g.call(ops["add"], g.call(ops["tanh"], y), g.call(ops["mul"], more, 0.5))
    assert all("tanh" in name for name in names(g.check(z)) if "pack" not in name)
    assert len(plan(g.graph(y, z)).steps) > len(plan(g.graph(z)).steps)  # not if the product is wanted as well


# -- writes ----------------------------------------------------------------------------------------------------


def test_an_update_is_made_in_place() -> None:
    g = Recording()
    p, grad = g.input(floats(1000)), g.input(floats(1000))
    after = g.write(p, g.call(ops["add"], p, g.call(ops["mul"], grad, -0.1)))
    made = g.check(g.call(ops["mul"], after, 2.0))
    assert len(made.steps) == 1 and made.arena == 0


def test_earlier_readers_keep_the_old_contents() -> None:
    g = Recording()
    x, y = g.input(floats(30, 40)), g.input(floats(30, 40))
    before = g.call(ops["sum"], x, dim=(0,), keepdim=False)
    doubled = g.call(ops["mul"], x, 2.0)
    after = g.write(x, y)
    g.check(before, doubled, g.call(ops["add"], after.view((30, 40)), before))


def test_overlapping_windows() -> None:
    g = Recording()
    x = g.input(floats(50))
    y = g.call(ops["mul"], x, 1.5)
    after = g.write(y.view((49,), (1,), 1), y.view((49,)))
    again = g.write(after.view((25,), (2,)), after.view((25,), (2,), 1))
    g.check(g.call(ops["add"], again, x))


def test_a_reduction_after_a_write_sees_elements_once() -> None:
    g = Recording()
    x = g.input(floats(40, 130))
    y = g.call(ops["add"], x, 1.0)
    g.write(x, y)
    g.check(g.call(ops["softmax"], y, dim=0))


def test_transposed_and_strided_targets() -> None:
    g = Recording()
    x, y = g.input(floats(20, 30)), g.input(floats(30, 20))
    flipped = Ref(x.value, (30, 20), (1, 30), 0, x.dtype)
    after = g.write(flipped, g.call(ops["mul"], y, 3.0))
    part = after.view((10, 30), (60, 1), 30)
    g.check(g.write(part, g.call(ops["tanh"], part)))


def test_a_value_that_is_read_after_it_was_written_over() -> None:
    g = Recording()
    x, z = g.input(floats(40)), g.input(floats(40))
    y = g.call(ops["mul"], x, 2.0)
    after = g.write(y, x)
    part = g.write(z.view((20,)), z.view((20,), (1,), 20))
    g.check(g.call(ops["add"], y, 1.0), g.call(ops["add"], z, 1.0), after, part)


def test_casts_expansions_and_nothing_as_sources() -> None:
    g = Recording()
    whole, x, row = g.input(np.zeros((6, 7), np.int32)), g.input(floats(6, 7) * 10), g.input(floats(7))
    after = g.write(whole, x)
    spread = g.write(x, Ref(row.value, (6, 7), (0, 1), 0, row.dtype))
    g.check(after, spread, g.write(spread.view((0, 5)), spread.view((0, 5))))


def test_complex_and_reinterpreted_memory() -> None:
    g = Recording()
    x, y = (g.input((floats(10, 10) + 1j * floats(10, 10)).astype(np.complex64)) for _ in range(2))
    z = g.input(floats(64))
    after = g.write(x, g.call(ops["mul"], x, y))
    shifted = g.write(after.view((5, 10), (20, 1)), after.view((5, 10), (20, 1), 10))
    bits = g.call(ops["add"], z, 1.0)
    as_integers = Ref(bits.value, (64,), (1,), 0, dtypes.int32)
    g.check(g.call(ops["add"], shifted.view((10, 10)), y), g.call(ops["add"], as_integers, as_integers), bits)


# -- memory and time -------------------------------------------------------------------------------------------


def test_arena_shares_and_never_overlaps() -> None:
    lives = []
    for first in range(200):
        lives.append((first, first + int(random.integers(0, 9)), int(random.integers(1, 5000))))
    offsets, top = arrange(lives)
    for nr, (first, last, nbytes) in enumerate(lives):
        assert offsets[nr] % 64 == 0 and offsets[nr] + nbytes <= top
        for other in range(nr):
            if lives[other][1] >= first and lives[other][0] <= last:
                end, other_end = offsets[nr] + nbytes, offsets[other] + lives[other][2]
                assert offsets[nr] >= other_end or offsets[other] >= end
    assert top < sum(n for *_, n in lives) / 5


def test_planning_takes_linear_time() -> None:
    """Counted in calls of functions, which do not depend on what else the machine does."""

    def calls(count: int) -> tuple[int, Plan]:
        g = Recording()
        y = g.input(floats(4, 4))
        for _ in range(count):
            y = g.call(ops["mul"], g.call(ops["add"], y, 0.5), 0.75)
        graph, profile = g.graph(y), cProfile.Profile()
        made = profile.runcall(plan, graph)
        return sum(entry.callcount for entry in profile.getstats()), made

    short, _ = calls(200)
    long, made = calls(1600)
    assert long < 9 * short
    assert len({s.kernel.key for s in made.steps}) <= 2  # type: ignore[union-attr]
    assert made.arena < 1000


# -- layouts ---------------------------------------------------------------------------------------------------


def test_large_operands_across_the_lanes_are_turned() -> None:
    g = Recording()
    x, y = g.input(floats(150, 200)), g.input(floats(200, 150))
    flipped = Ref(y.value, (150, 200), (1, 150), 0, y.dtype)
    g.check(g.call(ops["add"], x, flipped), g.call(ops["add"], flipped, x), g.call(ops["softmax"], flipped, dim=1))


def test_batch_norm_of_channels_last_images() -> None:
    g = Recording()
    shape = (4, 32, 10, 12)
    images = Ref(g.input(floats(*shape)).value, shape, (32 * 120, 1, 32 * 12, 32), 0, dtypes.float32)
    y, *_ = g.call(ops["standardize"], images, None, None, None, None, form=_batch_form(shape), eps=1e-5)
    g.check(y, g.call(ops["tanh"], y))


@pytest.mark.parametrize("d", [d for d in dtypes.ALL if not d.is_complex], ids=lambda d: d.name)
@pytest.mark.parametrize("value", [0, 2.5, -3, 300, True, float("inf")])
def test_a_constant_is_written_at_once(d: dtype, value: Any) -> None:
    if value == float("inf") and d.category < dtypes.FLOAT:
        return
    g = Recording()
    x = g.input(np.ones((3, 40)).astype(d.np))
    whole = g.write(x, g.call(ops["fill"], x, value=value))
    made = g.check(g.call(ops["clone"], whole.view((3, 20), (40, 2)), strides=None))
    assert len(made.steps) == 2 and made.arena == 0
