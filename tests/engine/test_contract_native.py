"""Native contractions against the references of their records: shapes, layouts, dtypes, edge values, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine.graph import Call
from flambeau.engine.kernel.contract import choose
from flambeau.engine.kernel.emit import Emitter
from flambeau.engine.runtime import codegen
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import ops
from tests.engine.harness import Bench, metas_of, native, reference
from tests.engine.targets import TARGETS, calls

SIZES = [(1, 1, 1), (2, 3, 4), (17, 33, 5), (5, 7, 0), (1, 300, 70), (300, 1, 70), (1, 1, 5000), (4, 120, 400),
         (31, 129, 1030), (128, 130, 127), (200, 160, 700), (67, 3, 65), (13, 13, 13)]  # fmt: skip
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def make(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape)).to(dtype)


def check(name: str, *inputs: Any, **params: Any) -> None:
    """One thread and two agree bit for bit, and both with the reference up to rounding."""
    op = ops[name]
    one, two = native(op, *inputs, threads=1, **params), native(op, *inputs, threads=2, **params)
    for x, y, z in zip(one, two, reference(op, *inputs, **params)):
        assert x.tobytes() == y.tobytes()
        assert x.shape == z.shape and x.dtype == z.dtype
        wide, expected = x.astype(np.float64), z.astype(np.float64)
        bound = TOLERANCE[torch.float64 if x.dtype == np.float64 else inputs[0].dtype]
        longest = max(max(t.shape, default=1) for t in inputs if t is not None)
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=longest**0.5)
        np.testing.assert_allclose(wide, expected, rtol=bound, atol=bound * scale)


def layouts(rows: int, columns: int, dtype: Any = torch.float32, seed: int = 0) -> dict[str, torch.Tensor]:
    """One matrix in memory by rows, by columns, and with gaps."""
    gaps = make(2 * rows, 3 * columns + 1, dtype=dtype, seed=seed)
    return {
        "rows": make(rows, columns, dtype=dtype, seed=seed),
        "columns": make(columns, rows, dtype=dtype, seed=seed).t(),
        "gaps": gaps[::2, 1::3],
        "padded": make(rows, columns + 5, dtype=dtype, seed=seed)[:, 2 : columns + 2],
    }


@pytest.mark.parametrize("m, n, k", SIZES)
def test_mm_of_every_layout(m: int, n: int, k: int) -> None:
    for a in layouts(m, k).values():
        for b in layouts(k, n, seed=1).values():
            check("mm", a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("m, n, k", [(3, 5, 4), (40, 70, 33), (1, 64, 90), (130, 140, 150), (70, 65, 1030)])
def test_dtypes(m: int, n: int, k: int, dtype: Any) -> None:
    for a in layouts(m, k, dtype).values():
        for b in layouts(k, n, dtype, seed=1).values():
            check("mm", a, b)
    check("addmm", make(n, dtype=dtype), make(m, k, dtype=dtype), make(k, n, dtype=dtype), beta=0.5, alpha=2)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix counts as one that no cache holds."""
    monkeypatch.setattr(choose, "FAR", 0)


@pytest.mark.parametrize("m", [1, 2, 7, 16, 33])
def test_few_rows_by_a_matrix_that_is_read_once(far: None, m: int) -> None:
    for size, n in ((1030, 1111), (17, 2112), (3, 32)):
        b, c = make(size, n, seed=1), make(n, seed=2)
        for a in layouts(m, size).values():
            check("addmm", c, a, b, beta=0.5)
        b[size // 2, 5], b[size - 1, n - 1], b[1, 9] = torch.inf, torch.nan, -0.0
        with np.errstate(all="ignore"):
            check("mm", make(m, size), b)
    check("matmul", make(2, m, 517).half(), make(2, 517, 300, seed=1).half())
    check("mm", make(m, 9).double(), make(9, 1500, seed=1).double())
    check("addbmm", make(1, 300), make(3, 1, 1000), make(3, 1000, 300))


@pytest.mark.parametrize("m", [1, 2, 3, 16, 63])
def test_few_rows_by_rows_from_far_away(far: None, m: int) -> None:
    for n, size in ((1031, 210), (7, 10_001), (33, 5)):
        x, w = make(m, size), make(n, size, seed=1)
        check("linear", x, w, make(n, seed=2))
        check("linear", x.t().contiguous().t(), w, None)
        check("linear", x.double(), w.double(), None)
        w[n - 1, 1], w[3, size - 1], w[2, 2] = torch.inf, torch.nan, -0.0
        with np.errstate(all="ignore"):
            check("linear", x, w, None)


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_matrices_that_are_read_once_compile_for_other_machines(far: None, target: Any) -> None:
    x, w = make(5, 180), make(180, 130)
    for op, inputs, kind in ((ops["mm"], (x, w), "stream"), (ops["linear"], (x, w.t().contiguous(), None), "far")):
        metas = metas_of(op, inputs, {})
        bench = Bench(inputs, metas)
        op.lower.function(bench, Call(op, tuple(bench.operand(i, inputs) for i in inputs), {}, metas, (9,)))
        (kernel,) = [kernel for kernel, _, _ in bench.launches if kernel.key.startswith(kind)]
        k = Emitter("kernel")
        kernel.emit(k)
        assembly = codegen.compile_for(target.triple, target.cpu, target.features, k.text())
        assert not calls(target, assembly)


def test_operands_that_overlap_themselves() -> None:
    row, column = make(40), make(30)
    check("mm", row.expand(30, 40), make(40, 20))
    check("mm", make(20, 30), column[:, None].expand(30, 50))
    check("mm", make(1).expand(30, 40), make(1).expand(40, 50))
    windows = make(60).as_strided((30, 20), (1, 1))
    check("mm", windows, windows.t())


@pytest.mark.parametrize("k", [0, 1, 7, 64, 5001, 200_000])
def test_dot(k: int) -> None:
    check("dot", make(k), make(k, seed=1))
    check("dot", make(2 * k)[::2], make(k, seed=1))


@pytest.mark.parametrize("m, k", [(1, 1), (5, 3), (70, 1000), (1000, 70), (3, 0), (2049, 33)])
def test_matrix_by_vector(m: int, k: int) -> None:
    for a in layouts(m, k).values():
        for v in (make(k), make(3 * k)[::3]):
            check("mv", a, v)
            check("addmv", make(m), a, v, beta=0.5, alpha=-2.0)
    check("addmv", make(1)[0], make(m, k), make(k))


def test_batches() -> None:
    check("bmm", make(3, 5, 6), make(3, 6, 7))
    check("bmm", make(0, 5, 6), make(0, 6, 7))
    check("bmm", make(3, 6, 5).transpose(1, 2), make(3, 7, 6).transpose(1, 2))
    check("bmm", make(2, 130, 140), make(2, 140, 150))
    check("bmm", make(1, 70, 600).expand(3, 70, 600), make(3, 600, 80))
    check("baddbmm", make(3, 1), make(2, 3, 4), make(2, 4, 2))
    check("baddbmm", make(2, 3, 2), make(2, 3, 4), make(2, 4, 2), beta=0.5, alpha=-2.0)
    check("addbmm", make(3, 2), make(2, 3, 4), make(2, 4, 2))
    check("addbmm", make(2), make(2, 3, 1400), make(2, 1400, 2), beta=0.5, alpha=2)
    check("addbmm", make(3, 2), make(0, 3, 4), make(0, 4, 2))


def test_batches_that_broadcast() -> None:
    check("matmul", make(2, 3, 4), make(4, 2))
    check("matmul", make(3, 4), make(5, 4, 2))
    check("matmul", make(2, 1, 3, 4), make(3, 4, 2))
    check("matmul", make(2, 5, 3, 8).transpose(1, 2), make(2, 3, 7, 8).transpose(2, 3))
    check("matmul", make(2, 3, 4, 1, 6)[:, :, ::2], make(3, 1, 6, 5))
    check("matmul", make(4, 3, 2, 5).permute(2, 0, 3, 1), make(2, 4, 3, 6))
    check("matmul", make(2, 64, 70), make(70, 80))


@pytest.mark.parametrize("lead", [(), (1,), (4,), (2, 3), (64,), (130,), (2, 0)])
def test_linear(lead: tuple[int, ...]) -> None:
    for size, out in ((400, 120), (84, 10), (1, 1), (1030, 140)):
        x, w = make(*lead, size), make(out, size, seed=1)
        check("linear", x, w, make(out, seed=2))
        check("linear", x, w, make(1, seed=2))
        check("linear", x, w, None)
        check("linear", x, w.t().contiguous().t(), None)
        check("linear", x, w[0], None)
        check("linear_weight_gradient", make(*lead, out), x, vector=False)
        check("linear_weight_gradient", make(*lead), x, vector=True)


def test_linear_of_views() -> None:
    x = make(3, 4, 5, 6)
    check("linear", x.permute(2, 0, 1, 3), make(7, 6), make(7))
    check("linear", x[:, ::2], make(7, 6), make(7))
    check("linear", make(6).expand(4, 5, 6), make(7, 6), make(7))


def test_addends_broadcast() -> None:
    a, b = make(20, 5), make(5, 40)
    for c in (make(40), make(20, 1), make(1), make(20, 40), make(40, 20).t(), make(1, 40)):
        check("addmm", c, a, b)
        check("addmm", c, a, b, beta=0.5, alpha=-2)
    check("addmm", torch.full((20, 40), torch.nan), a, b, beta=0)
    check("addr", make(3, 4), make(3), make(4))
    check("addr", make(4), make(30), make(4), beta=2)


def test_named_dimensions() -> None:
    record = "sumproduct_pair"
    check(record, make(2, 3), make(3, 4), la=(0, 1), lb=(1, 2), lo=(0, 2))
    check(record, make(3, 2, 4), make(2, 3, 5), la=(0, 1, 2), lb=(1, 0, 3), lo=(1, 2, 3))
    check(record, make(3, 4), make(3, 4), la=(0, 1), lb=(0, 1), lo=())
    check(record, make(3, 4, 5, 6), make(5, 6, 7), la=(0, 1, 2, 3), lb=(2, 3, 4), lo=(0, 1, 4))
    check(record, make(3, 4, 5, 6), make(6, 7), la=(0, 1, 2, 3), lb=(3, 4), lo=(2, 0, 1, 4))
    check(record, make(3, 4, 5, 6), make(6, 4, 7), la=(0, 1, 2, 3), lb=(3, 1, 4), lo=(1, 0, 2, 4))
    check(record, make(3, 4), make(4, 5, 6), la=(0, 1), lb=(1, 2, 3), lo=(0, 2, 3))


def test_named_dimensions_that_are_not_one_run() -> None:
    record, how = "sumproduct_pair", {"la": (0, 1, 2, 3), "lb": (3, 4, 5, 2), "lo": (0, 1, 4, 5)}
    a, b = make(3, 4, 5, 6), make(6, 2, 7, 5)
    for x in (a, a[:, :, :, ::2], make(3, 4, 6, 5).transpose(2, 3), make(5, 4, 3, 6).transpose(0, 2)):
        for y in (b[: x.shape[3]], make(6, 7, 2, 5).transpose(1, 2)[: x.shape[3]]):
            check(record, x, y, **how)
    check(record, a, make(4, 5, 3).permute(1, 2, 0), la=(0, 1, 2, 3), lb=(2, 0, 1), lo=(3,))
    check(record, make(1, 5).expand(4, 5), make(5, 4), la=(0, 1), lb=(1, 0), lo=())
    check(record, make(40, 3, 50), make(3, 50, 30, 20), la=(0, 1, 2), lb=(1, 2, 3, 4), lo=(0, 3, 4))
    check(record, make(40, 50, 3), make(3, 50, 20, 30).transpose(2, 3), la=(0, 2, 1), lb=(1, 2, 3, 4), lo=(0, 3, 4))


def test_the_gradient_of_a_weight_of_views() -> None:
    g, x = make(4, 5, 7), make(5, 4, 6).transpose(0, 1)
    for grad in (g, make(5, 4, 7).transpose(0, 1), g[:, :1].expand(4, 5, 7)):
        check("linear_weight_gradient", grad, x, vector=False)
        check("linear_weight_gradient", grad, x[::2].repeat(2, 1, 1), vector=False)
        check("linear_weight_gradient", grad[..., 0], x, vector=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-42, 3e38])
@pytest.mark.parametrize("m, n, k", [(3, 5, 7), (1, 40, 50), (130, 131, 140)])
def test_edge_values(m: int, n: int, k: int, value: float) -> None:
    a, b = make(m, k).clone(), make(k, n).clone()
    a[m // 2, k // 3] = value
    b[k // 2, n - 1] = -value
    with np.errstate(all="ignore"):
        check("mm", a, b)
        check("mm", a, b.t().contiguous().t())


class AddAndClip:
    """An epilogue: max(x + other, 0), where `other` is as large as the result."""

    key = "add and clip"

    def __init__(self, other: Any) -> None:
        self.args = (other,)

    def apply(self, k: Any, x: Any, flat: Any, first_word: int, mask: Any = None) -> Any:
        other = k.pointer(first_word)
        total = x + (k.load(other, flat, x.type) if mask is None else k.masked_load(other, flat, x.type, mask))
        return k.select(total > 0.0, total, 0.0)


@pytest.mark.parametrize("m, n, k", SIZES)
def test_epilogues(m: int, n: int, k: int) -> None:
    op, inputs = ops["linear"], (make(m, k), make(n, k, seed=1), make(n, seed=2))
    (plain,) = reference(op, *inputs)
    other = make(m, n, seed=3)
    metas = metas_of(op, inputs, {})
    bench = Bench((*inputs, other), metas, 2)
    bench.epilogue = AddAndClip(bench.source(bench.operand(other, ())))
    call = Call(op, tuple(bench.operand(x, inputs) for x in inputs), {}, metas, (9,))
    op.lower.function(bench, call)
    np.testing.assert_allclose(bench.results()[0], np.maximum(plain + other.numpy(), 0), rtol=1e-4, atol=1e-4)


def test_complex_products_take_no_epilogue() -> None:
    ones = torch.ones(3, 3, dtype=torch.complex64)
    metas = metas_of(ops["mm"], (ones, ones), {})
    bench = Bench((ones,), metas)
    bench.epilogue = AddAndClip(bench.source(bench.operand(ones, ())))
    operand = bench.operand(ones, ())
    with pytest.raises(Unsupported):
        ops["mm"].lower.function(bench, Call(ops["mm"], (operand, operand), {}, metas, (9,)))
