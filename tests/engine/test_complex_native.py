"""Complex numbers in kernels: functions of elements, reductions and products against their NumPy references."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import dtypes
from flambeau.engine.kernel.complex_emit import Emitter
from flambeau.engine.kernel.emit import vector
from flambeau.engine.plan import HostCall, Plan
from flambeau.engine.runtime import jit
from flambeau.engine.schedule.planner import plan
from flambeau.ops.nn.conv_kernels import Window
from flambeau.ops.op import ops
from tests.engine.everywhere import compiled, everywhere  # noqa: F401 - a fixture
from tests.engine.planned import Recording, Ref
from tests.engine.test_schedule_random import Program

KINDS = (np.complex64, np.complex128)
UNARY = (
    "abs", "acos", "acosh", "angle", "asin", "asinh", "atan", "atanh", "conj_physical", "cos", "cosh", "exp", "exp2",
    "expm1", "isfinite", "isinf", "isnan", "isreal", "log", "log10", "log2", "logical_not", "neg", "reciprocal", "rsqrt",
    "sgn", "sigmoid", "sin", "sinh", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
ACCURATE = {
    "abs": np.abs, "acos": np.arccos, "acosh": np.arccosh, "angle": np.angle, "asin": np.arcsin, "asinh": np.arcsinh,
    "atan": np.arctan, "atanh": np.arctanh, "cos": np.cos, "cosh": np.cosh, "exp": np.exp, "log": np.log,
    "reciprocal": np.reciprocal, "sin": np.sin, "sinh": np.sinh, "sqrt": np.sqrt, "tan": np.tan, "tanh": np.tanh,
}  # fmt: skip
BINARY = ("add", "sub", "rsub", "mul", "div", "eq", "ne", "logical_and", "logical_or", "logical_xor")
EDGES = (0.0, -0.0, 1.0, -2.5, 3.0, 1e-3, -40.0, np.inf, -np.inf, np.nan)
FEW = (0.0, -0.0, 1.0, -2.5, np.inf, np.nan)


def complexes(*shape: int, kind: Any = np.complex64, seed: int = 0) -> np.ndarray:
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return np.asarray(parts[0] + 1j * parts[1]).astype(kind)


def grid(parts: tuple[float, ...], kind: Any) -> np.ndarray:
    """All complex numbers with these parts."""
    found = np.empty((len(parts), len(parts)), kind)
    found.real, found.imag = np.meshgrid(parts, parts)
    return found.ravel()


def natively(made: Plan) -> None:
    assert not any(isinstance(step, HostCall) for step in made.steps)


def assert_alike(got: np.ndarray, want: np.ndarray, steps: float = 8, whole: float = 4) -> None:
    """Equal infinities, NaN and zeros; else a few units in the last place, of the part or of the whole number."""
    assert got.dtype == want.dtype and got.shape == want.shape
    if got.dtype.kind == "b":
        np.testing.assert_array_equal(got, want)
        return
    unit = np.finfo(got.dtype).eps
    with np.errstate(all="ignore"):
        size = np.abs(want)
        near = np.abs(got - want) <= whole * unit * np.where(np.isfinite(size), size, 0)
    for a, b in ((got.real, want.real), (got.imag, want.imag)):
        with np.errstate(all="ignore"):
            same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= steps * unit * np.abs(b))
        assert (same | near).all(), f"{got[~(same | near)][:5]}, not {want[~(same | near)][:5]}"
        zero = (a == 0) & (b == 0)
        np.testing.assert_array_equal(np.signbit(a[zero]), np.signbit(b[zero]), "signs of zeros")


def check(name: str, *operands: Any, steps: float = 8, whole: float = 4, **params: Any) -> None:
    """One call by kernels as by its reference."""
    g = Recording()
    made = g.call(ops[name], *[g.input(x) if isinstance(x, np.ndarray) else x for x in operands], **params)
    with np.errstate(all="ignore"):
        want = g.reference(made)[0]
    planned = plan(g.graph(made))
    natively(planned)
    assert_alike(g.execute(planned, (made,))[0], want, steps, whole)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_elements(name: str) -> None:
    for kind in KINDS:
        check(name, np.concatenate([grid(EDGES, kind), complexes(99, kind=kind) * 3]))


@pytest.mark.parametrize("name", [*BINARY, "pow"])
def test_functions_of_two(name: str) -> None:
    for kind in KINDS:
        edges = grid(FEW, kind)
        a, b = (x.ravel() for x in np.meshgrid(edges, edges))
        a, b = (np.concatenate([x, complexes(99, kind=kind, seed=seed)]) for seed, x in enumerate((a, b)))
        check(name, a, b, whole=32 if name == "pow" else 4)  # NumPy's float powers are exp(b * log(a))


def test_what_is_close() -> None:
    for kind in KINDS:
        a, b = (x.ravel() for x in np.meshgrid(grid(FEW, kind), grid((*FEW, 1.0001), kind)))
        for equal_nan in (False, True):
            check("isclose", a, b, rtol=1e-3, atol=1e-8, equal_nan=equal_nan)


def test_powers_are_products_where_they_can_be() -> None:
    for kind in KINDS:
        for exponent in (0, 1, 2, 3, -1, -2, 7, 99, -99, 0.5, 1j, 2 - 1j):
            check("pow", np.concatenate([grid(FEW, kind), complexes(40, kind=kind)]), exponent, steps=300, whole=300)


@pytest.mark.parametrize("name", ACCURATE)
def test_each_part_is_accurate(name: str) -> None:
    """Over all sizes, and around 1 and -1, where logarithms and inverse functions cancel."""
    rng = np.random.default_rng(0)
    for kind, wide, most, bound in ((np.complex64, np.complex128, 37, 2.2), (np.complex128, np.clongdouble, 300, 8.0)):
        sign, size = rng.choice([-1.0, 1.0], (4, 2000)), 10 ** rng.uniform(-most, most, (2, 2000))
        beside = 10 ** rng.uniform(-14, 0, (2, 2000)) * sign[2:]
        parts = np.concatenate([sign[:2] * size, [sign[0] + beside[0], beside[1]], rng.normal(0, 3, (2, 2000))], 1)
        z = (parts[0] + 1j * parts[1]).astype(kind)
        g = Recording()
        got = g.run(g.call(ops[name], g.input(z)))[0]
        with np.errstate(all="ignore"):
            want = ACCURATE[name](z.astype(wide))
        for a, b in ((got.real, want.real), (got.imag, want.imag)):
            with np.errstate(all="ignore"):
                rounded = b.astype(a.dtype)
                normal = np.isfinite(rounded) & (np.abs(rounded) > np.finfo(a.dtype).tiny)
                error = np.abs(a - b)[normal] / np.spacing(np.abs(rounded[normal]))
            assert error.size == 0 or error.max() <= bound, f"{z[normal][error.argmax()]}: {error.max()}"


def test_what_only_nearly_overflows() -> None:
    for name, values in (
        ("log", np.array([1e308 + 1e308j, 1e-320 + 1e-320j, 1 + 1e-200j, 4.659e180 - 2.44e130j])),
        ("sqrt", np.array([1e308 + 1e308j, 1e-320 - 1e-320j, -1e308 + 1j])),
        ("exp", np.array([710 + 1j, 1400 + 1e-300j, -740 + 1j])), ("sinh", np.array([-711 + 1j, 711 - 3j])),
        ("cosh", np.array([711 + 1j, -711 - 3j])), ("atanh", np.array([1 + 1e-200j, 1e200 + 1e-200j])),
        ("tanh", np.array([300 + 1j, 1e-310 + 1j, 21.9 + 2j, 0.1 + 1.5707963j])),
        ("reciprocal", np.array([1e308 + 1e308j, 1e-308 + 1j])),
    ):  # fmt: skip
        check(name, values, steps=16, whole=0)


@pytest.mark.parametrize("width", [1, 2, 4, 16])
@pytest.mark.parametrize("part", ["cfloat", "cdouble"])
def test_lanes_go_to_memory_and_back(part: str, width: int) -> None:
    """Under masks, one by one, by way of the stack, around a loop and folded."""
    k, type = Emitter("kernel"), vector(part, width)
    source, target, count = k.pointer(0), k.pointer(1), k.integer(2)
    mask = k.mask(count, width)
    x = k.masked_load(source, 1, type, mask, other=2 - 1j)
    kept = k.stack(part, 2 * width)
    k.store(x, kept, width)
    with k.loop(3, carried=[k.const(type, 1), k.load(kept, width, type)]) as loop:
        total, each = loop.carried
        loop.carry(total + each, each)
    k.store(loop.results[0], target, 0)
    k.masked_store(x * 1j, target, width, mask)
    k.store(k.fold(x, k.add), target, 2 * width)
    if width > 1:
        back = k.ramp(vector("i64", width), width, -1)
        k.scatter(k.gather(source, back, part, mask), target, back + 2 * width, mask)
    kind: Any = np.complex64 if part == "cfloat" else np.complex128
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(jit.load(k.text(), "kernel"))
    given, few = complexes(width + 1, kind=kind), max(width - 1, 1)
    got, want = np.zeros((2, 4 * width + 2), kind)
    block = (ctypes.c_int64 * 3)(given.ctypes.data, got.ctypes.data, few)
    run(ctypes.addressof(block), 0, 1)
    x = np.where(np.arange(width) < few, given[1:], kind(2 - 1j))
    want[:width], want[width : width + few], want[2 * width] = 1 + 3 * x, 1j * x[:few], x.sum()
    if width > 1:
        want[3 * width - np.arange(few)] = given[width - np.arange(few)]
    np.testing.assert_allclose(got, want, 1e-6)


# -- what elements are made of, and where they lie -------------------------------------------------------------


def test_windows_of_all_kinds() -> None:
    for kind in KINDS:
        g = Recording()
        x, row, column, one = (g.input(complexes(*s, kind=kind)) for s in ((37, 19), (19,), (37, 1), ()))
        turned = Ref(x.value, (19, 37), (1, 19), 0, x.dtype)
        flipped = Ref(x.value, (37, 19), (-19, -1), 37 * 19 - 1, x.dtype)
        every = Ref(x.value, (37, 9), (19, 2), 1, x.dtype)
        real, imag = (Ref(x.value, (37, 19), (38, 2), part, x.dtype.to_real()) for part in (0, 1))
        whole = g.call(ops["mul"], x, row)
        wanted = [
            g.call(ops["add"], whole, column), g.call(ops["sub"], one, turned), g.call(ops["div"], flipped, x),
            g.call(ops["conj_physical"], every), g.call(ops["mul"], real, imag), g.call(ops["mul"], whole, 1j),
            g.call(ops["add"], real, 2j), g.call(ops["to_copy"], x, dtype=real.dtype, strides=None),
            g.call(ops["to_copy"], real, dtype=x.dtype, strides=None), g.call(ops["exp"], x.view((0, 3))),
        ]  # fmt: skip
        natively(g.check(*wanted))


def test_large_memory_across_the_lanes_down_columns_and_past_the_caches() -> None:
    g = Recording()
    x, y, z = (g.input(complexes(*shape)) for shape in ((150, 200), (200, 150), (3000, 600)))
    turned = Ref(y.value, (150, 200), (1, 150), 0, y.dtype)
    real = Ref(y.value, (150, 200), (2, 300), 0, dtypes.float32)
    part = Ref(z.value, (3000 * 600 - 5,), (1,), 3, z.dtype)
    wanted = [
        g.call(ops["add"], x, turned), g.call(ops["mul"], turned, x), g.call(ops["mul"], real, x),
        g.call(ops["sum"], turned, dim=(1,), keepdim=False), g.call(ops["mean"], z, dim=(0,), keepdim=False),
        g.call(ops["prod"], g.call(ops["sgn"], z), dim=(0,), keepdim=False), g.call(ops["mul"], part, 2j),
    ]  # fmt: skip
    natively(g.check(*wanted, rtol=2e-4, atol=2e-4))


def test_choices_and_casts() -> None:
    for kind in KINDS:
        g = Recording()
        x, y = (g.input(complexes(70, kind=kind, seed=seed)) for seed in (0, 1))
        mask = g.input(np.arange(70) % 3 == 0)
        number = g.input(np.arange(70) - 9)
        wanted = [
            g.call(ops["where"], mask, x, y), g.call(ops["where"], mask, x, 1.5), g.call(ops["where"], mask, 2j, number),
            g.call(ops["masked_fill"], x, mask, 1 - 1j), g.call(ops["add"], x, number), g.call(ops["addcmul"], x, y, y, 0.5),
            g.call(ops["addcdiv"], x, y, x, value=2j), g.call(ops["add"], x, y, alpha=1j), g.call(ops["lerp"], x, y, 0.25),
        ]  # fmt: skip
        casts = [g.call(ops["to_copy"], x, dtype=d, strides=None) for d in (dtypes.bool_, dtypes.int32, dtypes.float64)]
        natively(g.check(*wanted, *casts))


def test_a_number_without_real_part_is_true() -> None:
    x = np.array([1j, 0, 2, complex(0, np.nan)], np.complex64)
    g = Recording()
    made = g.call(ops["to_copy"], g.input(x), dtype=dtypes.bool_, strides=None)
    natively(g.check(made))
    assert g.run(made)[0].tolist() == [True, False, True, True]


def test_writes_into_parts_and_over_what_is_read() -> None:
    for kind in KINDS:
        g = Recording()
        x, y = (g.input(complexes(10, 10, kind=kind, seed=seed)) for seed in (0, 1))
        real = Ref(x.value, (10, 10), (20, 2), 0, x.dtype.to_real())
        after = g.write(Ref(x.value, (10, 10), (20, 2), 1, real.dtype), g.call(ops["mul"], real, 2.0))
        shifted = g.write(after_view(after, x).view((5, 10), (20, 1)), after_view(after, x).view((5, 10), (20, 1), 10))
        g.check(g.call(ops["mul"], shifted.view((10, 10)), y), g.write(y, g.call(ops["mul"], y, y)))


def after_view(after: Ref, like: Ref) -> Ref:
    """A value that was written as parts, as complex numbers again."""
    return Ref(after.value, like.shape, like.strides, 0, like.dtype)


# -- reductions ------------------------------------------------------------------------------------------------

REDUCED = (
    ((5,), (0,)), ((3, 7), (1,)), ((3, 7), (0,)), ((2, 3, 4), (1,)), ((40, 50, 6), (0, 2)), ((20000,), (0,)),
    ((3, 11003), (1,)), ((9001, 7), (0,)), ((0, 3), (0,)), ((), ()), ((1, 1), (0,)), ((5, 640), (0,)),
)  # fmt: skip


@pytest.mark.parametrize(("shape", "dim"), REDUCED)
def test_reductions_with_work_around_them(shape: tuple, dim: tuple) -> None:
    for kind in KINDS:
        g = Recording()
        x = g.input(complexes(*shape, kind=kind))
        wanted = [g.call(ops["sum"], g.call(ops["mul"], x, x), dim=dim, keepdim=False)]
        wanted.append(g.call(ops["mean"], x, dim=dim, keepdim=True))
        wanted.append(g.call(ops["linalg_vector_norm"], x, ord=2.0, dim=dim, keepdim=False))
        wanted += [g.call(ops[name], x, dim=dim, keepdim=False) for name in ("any", "all")]
        if 0 not in shape:
            wanted += g.call(ops["var_mean"], x, dim=dim, correction=0, keepdim=True)
            unit = g.call(ops["sgn"], x)
            wanted += [
                g.call(ops["prod"], unit, dim=dim, keepdim=False),
                g.call(ops["logsumexp"], x, dim=dim, keepdim=True),
            ]
        wide = kind is np.complex128
        natively(g.check(*wanted, rtol=1e-9 if wide else 2e-4, atol=1e-9 if wide else 2e-4))


def test_an_order_of_complex_numbers_is_left_to_the_reference() -> None:
    g = Recording()
    made = g.call(ops["softmax"], g.input(complexes(3, 5)), dim=1)
    assert isinstance(plan(g.graph(made)).steps[0], HostCall)


# -- products --------------------------------------------------------------------------------------------------


def matrix(g: Recording, rows: int, columns: int, form: str, kind: Any, seed: int) -> Ref:
    """A matrix that lies row by row, column by column, or with gaps everywhere."""
    if form == "gaps":
        x = g.input(complexes(2 * rows + 1, 2 * columns + 1, kind=kind, seed=seed))
        return Ref(x.value, (rows, columns), (2 * (2 * columns + 1), 2), 1, x.dtype)
    x = g.input(complexes(*((rows, columns) if form == "rows" else (columns, rows)), kind=kind, seed=seed))
    return x if form == "rows" else Ref(x.value, (rows, columns), (1, rows), 0, x.dtype)


SIZES = ((1, 1, 1), (3, 5, 7), (1, 64, 33), (64, 33, 1), (70, 80, 90), (5, 0, 4), (0, 3, 4), (1, 300, 1))
FORMS = (("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("columns", "columns"), ("gaps", "gaps"))


@pytest.mark.parametrize("forms", FORMS)
def test_products(forms: tuple[str, str]) -> None:
    for kind in KINDS:
        close = {"rtol": 1e-4, "atol": 2e-4} if kind is np.complex64 else {"rtol": 1e-10, "atol": 1e-11}
        for m, k, n in SIZES:
            g = Recording()
            a, b = matrix(g, m, k, forms[0], kind, 0), matrix(g, k, n, forms[1], kind, 1)
            c, added = g.input(complexes(n, kind=kind, seed=2)), matrix(g, m, n, forms[1], kind, 3)
            v = g.input(complexes(k, kind=kind, seed=4))
            product = g.call(ops["mm"], a, b)
            wanted = [
                product, g.call(ops["mul"], product, 2.0), g.call(ops["mv"], a, v), g.call(ops["dot"], v, v),
                g.call(ops["addmm"], c, a, b, alpha=2, beta=0.5), g.call(ops["addmm"], added, a, b),
                g.call(ops["addmm"], added, a, b, alpha=1j, beta=2 - 1j), g.call(ops["addmm"], c, a, b, alpha=0.5 - 2j),
            ]  # fmt: skip
            natively(g.check(*wanted, **close))


def test_products_of_batches() -> None:
    for kind in KINDS:
        close = {"rtol": 1e-4, "atol": 1e-4} if kind is np.complex64 else {"rtol": 1e-10, "atol": 1e-11}
        g = Recording()
        shapes = ((3, 4, 5, 6), (4, 6, 7), (6, 7), (9, 4, 5), (9, 5, 6), (4, 6), (6,), (8, 6))
        x, y, z, first, second, c, v, w = (g.input(complexes(*s, kind=kind, seed=nr)) for nr, s in enumerate(shapes))
        wanted = [
            g.call(ops["matmul"], x, y), g.call(ops["matmul"], x, z), g.call(ops["bmm"], first, second),
            g.call(ops["addbmm"], c, first, second), g.call(ops["addr"], c, c.view((4,), (6,)), v),
            g.call(ops["linear"], x, w, v.view((8,), (0,))), g.call(ops["linear_weight_gradient"], c, c, vector=False),
        ]  # fmt: skip
        natively(g.check(*wanted, **close))


def test_convolutions() -> None:
    for kind in KINDS:
        close = {"rtol": 1e-4, "atol": 1e-4} if kind is np.complex64 else {"rtol": 1e-10, "atol": 1e-11}
        for groups, stride, size in ((1, 1, 9), (2, 2, 7), (4, 1, 5), (1, 1, 2)):
            g = Recording()
            window = Window((stride, 1), ((1, 1), (0, 1)), (1, 1), groups)
            x, w = (g.input(complexes(*s, kind=kind)) for s in ((3, 4, size, 5), (8, 4 // groups, 2, 3)))
            last = Ref(x.value, (3, 4, size, 5), (4 * size * 5, 1, 20, 4), 0, x.dtype)
            b = Ref(w.value, (8,), (2,), 1, w.dtype)
            y = g.call(ops["convolution"], x, w, b, window=window)
            wanted = [
                y, g.call(ops["mul"], y, 2j), g.call(ops["convolution"], last, w, None, window=window),
                g.call(ops["conv_input_gradient"], y, w, shape=x.shape, window=window),
                g.call(ops["conv_weight_gradient"], y, last, shape=w.shape, window=window),
                g.call(ops["conv_transpose"], y, w, None, window=window, output_padding=(0, 0)),
            ]  # fmt: skip
            natively(g.check(*wanted, **close))


def test_running_products() -> None:
    for kind in KINDS:
        g = Recording()
        x = g.input(np.exp(1j * np.arange(300)).astype(kind))
        views = (x, x.view((20, 15)), x.view((15, 20), (1, 15)), x.view((2, 150)))
        made = [g.call(ops[name], v, dim=len(v.shape) - 1) for v in views for name in ("cumprod", "cumsum")]
        natively(g.check(*made, g.call(ops["cumprod"], views[1], dim=0)))


class Mixed(Program):
    """Random programs of complex numbers and the real ones that are made of them."""

    def __init__(self, seed: int, d: dtypes.dtype) -> None:
        super().__init__(seed, d)
        turns = self.g.call(ops["mul"], self.refs[0], 1j)
        self.refs += [turns, self.g.call(ops["abs"], turns)]

    def unary(self) -> None:
        name = str(self.random.choice(["exp", "sin", "neg", "abs", "conj_physical", "square"]))
        made = self.g.call(ops[name], self.pick())
        size = self.g.call(ops["abs"], made)
        self.refs.append(self.g.call(ops["div"], made, self.g.call(ops["add"], size, 1.0)))

    def reduce(self) -> None:
        x = self.pick()
        if x.shape:
            dim = (int(self.random.integers(len(x.shape))),)
            self.refs.append(self.g.call(ops["mean"], x, dim=dim, keepdim=bool(self.random.random() < 0.6)))

    def softmax(self) -> None:
        """Parts that are views of complex memory."""
        x = self.pick()
        if x.dtype.is_complex:
            part = int(self.random.integers(2))
            strides = tuple([2 * s for s in x.strides])
            self.refs.append(Ref(x.value, x.shape, strides, 2 * x.offset + part, x.dtype.to_real()))


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")  # complex elements written over real ones
@pytest.mark.parametrize("seed", range(25))
def test_random_programs(seed: int) -> None:
    for d in (dtypes.complex128, dtypes.complex64):
        program = Mixed(seed, d)
        for _ in range(int(program.random.integers(3, 25))):
            program.step()
        g, wanted = program.result()
        if d is dtypes.complex128:
            natively(g.check(*wanted, rtol=1e-9, atol=1e-9))
        for fused, single in zip(g.run(*wanted), g.run(*wanted, fuse=False), strict=True):
            np.testing.assert_array_equal(fused, single)


def test_sums_and_products_at_indices() -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        g = Recording()
        x, source = g.input(complexes(6, 40, kind=kind)), g.input(complexes(9, 40, kind=kind, seed=1))
        places, rows = g.input(rng.integers(0, 6, (9, 40))), g.input(rng.integers(0, 6, 9))
        reduced = {"dim": 0, "include_self": False}
        wanted = [
            g.call(ops["scatter_reduce"], x, places, source, reduce="prod", **reduced),
            g.call(ops["scatter_reduce"], x, places, source, reduce="sum", **reduced),
            g.call(ops["scatter_add"], x, places, source, dim=0),
            g.call(ops["index_add"], x, rows, source, dim=0, alpha=2 - 1j),
            g.call(ops["index_add"], x, rows, source, dim=0, alpha=1),
        ]  # fmt: skip
        natively(g.check(*wanted))


# -- whole programs --------------------------------------------------------------------------------------------


def test_numbers_of_two_parts() -> None:
    for kind in KINDS:
        g = Recording()
        x = g.input(complexes(37, 19, kind=kind))
        turned = Ref(x.value, (19, 37), (1, 19), 0, x.dtype)
        parts = g.call(ops["view_as_real"], turned)
        size, angle = (g.call(ops[name], x) for name in ("abs", "angle"))
        across = Ref(size.value, (2, 18, 19), (1, 38, 2), 0, size.dtype)
        pairs = Ref(size.value, (19, 18, 2), (2, 38, 1), 0, size.dtype)
        wanted = [
            parts, g.call(ops["view_as_complex"], parts), g.call(ops["view_as_complex"], pairs), across,
            g.call(ops["polar"], size, angle), g.call(ops["complex"], size, angle.view((19,))),
            g.call(ops["complex"], across.view((2, 9, 19), (1, 38, 2)), g.call(ops["view_as_real"], x).view((9, 19))),
        ]  # fmt: skip
        natively(g.check(*wanted))


def learned() -> Iterator[Any]:
    """Gradients through most of what there is, parts that are views, and writes in place."""
    torch.manual_seed(0)
    w = torch.randn(6, 6, dtype=torch.complex64, requires_grad=True)
    b = torch.randn(6, dtype=torch.complex64, requires_grad=True)
    for step in range(4):
        x = torch.randn(5, 6, dtype=torch.complex64)
        x.real[:, 1:] *= 2
        x[:, 0] = 1j * step
        h = torch.addmm(b, x, w).tanh() * x.conj()
        y = torch.view_as_complex(torch.stack([h.real, h.imag.exp()], -1)) / (2 + h.abs().square())
        z = torch.polar(y.abs(), y.angle() * 0.5) + torch.where(y.real > 0, y.exp(), y.sin()) ** 2
        loss = (z @ z.mH).real.diagonal().sum() + z.mean().abs() + z.norm() + (z.sgn() - y).abs().mean()
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p -= 0.01 * p.grad
                yield p.grad.numpy().copy()
                p.grad = None
        yield loss.item()


def test_gradients_in_every_mode() -> None:
    everywhere(learned, rel=1e-3)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop"])
def test_optimizers_take_parts_apart(name: str) -> None:
    def steps() -> Iterator[Any]:
        p = torch.tensor(complexes(7), requires_grad=True)
        optimizer = getattr(torch.optim, name)([p], lr=0.05)
        for _ in range(4):
            optimizer.zero_grad()
            (p - (1 + 1j)).abs().square().sum().backward()
            optimizer.step()
            yield p.detach().numpy().copy()

    everywhere(steps)
