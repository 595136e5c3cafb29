"""Tensor expressions: the small language of `lower=Composite(lambda t, x, ...: ...)`, and what the planner fuses.

`t` (a `Tensors`) makes expressions, operators combine them, shapes broadcast:

    def softmax(t, x, dim):
        e = t.exp(x - t.max(x, dim))
        return e / t.sum(e, dim)

Elements are what registers hold: narrow floats are float32 here, and the op's result is rounded once. Reductions keep
their dimensions unless told otherwise. Every function of `kernel.scalars` is a method of `t`: `t.exp(x)`,
`t.where(c, a, b)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from flambeau import dtypes
from flambeau.dtypes import dtype, promote_types
from flambeau.engine.kernel.complex_emit import Emitter
from flambeau.engine.kernel.complex_scalars import namespace
from flambeau.engine.kernel.emit import Val
from flambeau.engine.kernel.nest import Function
from flambeau.engine.kernel.reductions import PLACES, of_nothing
from flambeau.engine.kernel.scalars import Scalars, compute_type
from flambeau.engine.kernel.types import is_complex
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.engine.schedule.spaces import Axes, Order, View, reduction_axes, reduction_order
from flambeau.shape import Ints, broadcast_shapes, infer_shape, reduced_shape, wrap_dims

WIDE = {dtypes.float16: dtypes.float32, dtypes.bfloat16: dtypes.float32}
VIEWS = ("expand", "reshape", "window", "part")  # kinds of expressions that only show another one


class Expr:
    """A tensor whose elements are known by formula. `group` and `full` say where the planner has put it."""

    __slots__ = ("t", "kind", "shape", "dtype", "operands", "detail", "group", "full", "memory", "seen")

    def __init__(
        self, t: Tensors, kind: str, shape: Ints, dtype: dtype, operands: tuple[Expr, ...] = (), detail: Any = None
    ) -> None:
        self.t, self.kind, self.shape, self.dtype, self.operands, self.detail = t, kind, shape, dtype, operands, detail
        self.group: Any = None  # the group of kernels' work that computes it; None for what needs no computing
        self.full = True  # whether it has one element a point of that group's space, not one a row
        self.memory: Any = None  # where it is stored, if it is

    def __repr__(self) -> str:
        return f"{self.kind} {self.dtype.name}{list(self.shape)}"

    def __add__(self, other: Any) -> Expr:
        return self.t.add(self, other)

    def __radd__(self, other: Any) -> Expr:
        return self.t.add(other, self)

    def __sub__(self, other: Any) -> Expr:
        return self.t.sub(self, other)

    def __rsub__(self, other: Any) -> Expr:
        return self.t.sub(other, self)

    def __mul__(self, other: Any) -> Expr:
        return self.t.mul(self, other)

    def __rmul__(self, other: Any) -> Expr:
        return self.t.mul(other, self)

    def __truediv__(self, other: Any) -> Expr:
        return self.t.div(self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return self.t.div(other, self)

    def __neg__(self) -> Expr:
        return self.t.map(Function("neg", lambda s, x: -x), self)

    def __lt__(self, other: Any) -> Expr:
        return self.t.lt(self, other)

    def __le__(self, other: Any) -> Expr:
        return self.t.le(self, other)

    def __gt__(self, other: Any) -> Expr:
        return self.t.gt(self, other)

    def __ge__(self, other: Any) -> Expr:
        return self.t.ge(self, other)

    def __and__(self, other: Any) -> Expr:
        return self.t.logical_and(self, other)

    def __or__(self, other: Any) -> Expr:
        return self.t.logical_or(self, other)

    def __invert__(self) -> Expr:
        return self.t.logical_not(self)


class Placer(Protocol):
    """What puts new expressions into kernels: the planner."""

    def place(self, expr: Expr) -> None: ...

    def require(self, condition: Expr) -> None: ...


class Tensors:
    """Makes expressions. Each one is handed to the planner as it is made: operands always come before their users."""

    def __init__(self, placer: Placer) -> None:
        self._placer = placer

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        if not hasattr(Scalars, name):
            raise AttributeError(f"kernels have no function {name!r}")

        def function(*operands: Any, **params: Any) -> Expr:
            key = name + (repr(sorted(params.items())) if params else "")
            return self.map(Function(key, lambda s, *xs: getattr(s, name)(*xs, **params)), *operands)

        return function

    # -- leaves --------------------------------------------------------------------------------------------------

    def constant(self, number: Any, dtype: dtype, shape: Ints = ()) -> Expr:
        return Expr(self, "constant", shape, WIDE.get(dtype, dtype), (), number)

    def index(self, x: Expr, dim: int) -> Expr:
        """The place of every element of `x` along `dim`, as int32 (int64 if that is too small)."""
        view = View(x.shape, tuple(int(d == dim % len(x.shape)) for d in range(len(x.shape))))
        narrow = x.shape[dim] < 2**31
        return Expr(self, "place", x.shape, dtypes.int32 if narrow else dtypes.int64, (), view)

    # -- elements ------------------------------------------------------------------------------------------------

    def map(self, function: Function, *operands: Any, dtype: dtype | None = None) -> Expr:
        """A function of elements; Python numbers take the dtype of the other operands, which are promoted together."""
        given = [o for o in operands if isinstance(o, Expr)]
        common = given[0].dtype
        for o in given[1:]:
            common = promote_types(common, o.dtype) if o.dtype is not dtypes.bool_ or common is dtypes.bool_ else common
        if common is dtypes.bool_:  # a condition first: the others decide
            common = next((o.dtype for o in given if o.dtype is not dtypes.bool_), common)
        made = []
        for o in operands:
            if not isinstance(o, Expr):
                o = self.constant(o, common)
            elif o.dtype is not common and o.dtype is not dtypes.bool_:
                o = self.cast(o, common)
            made.append(o)
        shape = broadcast_shapes(*[o.shape for o in made])
        spread = tuple([o if o.shape == shape else self.expand(o, shape) for o in made])
        result = dtype or result_dtype(function, tuple([o.dtype for o in spread]), common)
        return self.placed(Expr(self, "map", shape, result, spread, function))

    def cast(self, x: Expr, dtype: dtype) -> Expr:
        """Elements converted (and rounded) to a dtype; narrow floats stay in float32 registers."""
        wide = WIDE.get(dtype, dtype)
        if x.dtype is dtype:
            return x
        if x.kind == "constant" and wide is dtype:
            return Expr(self, "constant", x.shape, dtype, (), x.detail)
        function = Function(f"to {dtype.name}", lambda s, v: s.cast(v, dtype))
        return self.placed(Expr(self, "map", x.shape, wide, (x,), function))

    def copy(self, x: Expr) -> Expr:
        """The same elements, computed (so that they can be stored)."""
        return self.placed(Expr(self, "map", x.shape, x.dtype, (x,), Function("copy", lambda s, v: v)))

    def require(self, condition: Expr) -> None:
        """Report data that the op cannot accept, where the condition is false: the reference will raise the error."""
        self._placer.require(condition)

    # -- shapes --------------------------------------------------------------------------------------------------

    def expand(self, x: Expr, shape: Sequence[int]) -> Expr:
        """Broadcast to `shape`."""
        shape = tuple(shape)
        return x if x.shape == shape else Expr(self, "expand", shape, x.dtype, (x,))

    def reshape(self, x: Expr, shape: Sequence[int]) -> Expr:
        numel = 1
        for n in x.shape:
            numel *= n
        shape = infer_shape(tuple(shape), numel)
        return x if x.shape == shape else Expr(self, "reshape", shape, x.dtype, (x,))

    def diagonal(self, x: Expr) -> Expr:
        """The diagonal of a matrix."""
        n = min(x.shape)
        return Expr(self, "part", (n,), x.dtype, (x,), lambda view: View((n,), (sum(view.strides),), view.offset))

    # -- reductions ----------------------------------------------------------------------------------------------

    def sum(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        return self.reduce("sum", x, dims, keepdim)

    def mean(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        count = 1
        for d in wrap_dims(dims, len(x.shape)) if dims != () else ():
            count *= x.shape[d]
        return self.sum(x, dims, keepdim) / count

    def prod(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        return self.reduce("prod", x, dims, keepdim)

    def max(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        """The largest elements; NaN where there is one."""
        return self.reduce("max", x, dims, keepdim)

    def min(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        """The smallest elements; NaN where there is one."""
        return self.reduce("min", x, dims, keepdim)

    def any(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        return self.reduce("any", self.truth(x), dims, keepdim)

    def all(self, x: Expr, dims: Any = None, keepdim: bool = True) -> Expr:
        return self.reduce("all", self.truth(x), dims, keepdim)

    def argmax(self, x: Expr, dim: int) -> Expr:
        """The first places of the largest elements along `dim` (or of NaN)."""
        return self._reduced("argmax", (x, self.index(x, dim)), (dim,), reduced_shape(x.shape, (dim,), True))

    def argmin(self, x: Expr, dim: int) -> Expr:
        """The first places of the smallest elements along `dim` (or of NaN)."""
        return self._reduced("argmin", (x, self.index(x, dim)), (dim,), reduced_shape(x.shape, (dim,), True))

    def reduce(self, how: str, x: Expr, dims: Any, keepdim: bool) -> Expr:
        """One element from all those along `dims` (None: all of them)."""
        if x.dtype.is_complex and how in ("max", "min"):
            raise Unsupported("an order of complex numbers")
        dims = wrap_dims(dims, len(x.shape)) if dims != () else ()
        kept = reduced_shape(x.shape, dims, True)
        result = self._reduced(how, (x,), dims, kept)
        return result if keepdim else self.reshape(result, reduced_shape(x.shape, dims, False))

    def _reduced(self, how: str, operands: tuple[Expr, ...], dims: Ints, kept: Ints) -> Expr:
        """The reduction of the first operand; the last one has the dtype of the result."""
        shape, dtype = operands[0].shape, operands[-1].dtype
        if 0 in [shape[d] for d in dims] or 0 in kept:
            return self.constant(of_nothing(how) if 0 not in kept else 0, dtype, kept)
        axes = reduction_axes(shape, dims)
        if not any(a.reduced for a in axes):
            return self.reshape(operands[-1], kept)
        order = reduction_order(axes)
        rows = tuple(n for d, n in enumerate(shape) if d not in dims)

        def reduced(how: str, operands: tuple[Expr, ...]) -> Expr:
            made = order.parts(rows) if order.blocks else kept
            return self.placed(Expr(self, "reduce", made, operands[-1].dtype, operands, Reduce(how, axes, order)))

        result = reduced(how, operands)
        if not order.blocks:
            return result
        parts = (reduced(PLACES[how], operands[:1]), result) if how in PLACES else (result,)
        again = len(rows) if order.sweep else 0
        made = order._replace(blocks=1).parts(rows)
        return self.reshape(self._reduced(how, parts, (again,), made), kept)

    def placed(self, expr: Expr) -> Expr:
        self._placer.place(expr)
        return expr


class Reduce:
    """How a reduction goes: its name in `kernel.reductions`, its axes and the order that follows from them."""

    __slots__ = ("how", "axes", "order")

    def __init__(self, how: str, axes: Axes, order: Order) -> None:
        self.how, self.axes, self.order = how, axes, order


_results: dict[tuple, dtype] = {}
_costs: dict[tuple[str, bool], int] = {}


def result_dtype(function: Function, operands: tuple[dtype, ...], common: dtype) -> dtype:
    """The dtype of a map's result: that of its operands, but bool or complex if its elements are, and real if they are
    not complex any more. Tries the function once."""
    key = function.key, operands
    found = _results.get(key)
    if found is None:
        result = tried(function, operands, common)
        if isinstance(result, Val) and result.type == "i1":
            common = dtypes.bool_
        elif isinstance(result, Val):
            common = common.to_complex() if is_complex(result.type) else common.to_real()
        found = _results[key] = common
    return found


def tried(function: Function, operands: tuple[dtype, ...], dtype: dtype, results: int = 1) -> Any:
    """What a function gives for one element of each dtype. Raises Unsupported where it does not cover them.

    `results`: it is one of so many that are computed together, and shares their cost.
    """
    k = Emitter("trial")
    values = [k.load(k.pointer(nr), 0, compute_type(d)) for nr, d in enumerate(operands)]
    before = len(k.lines)
    result = function.apply(namespace(k, dtype, values), *values)
    _costs[function.key, _on_complex(operands, dtype)] = -(-(len(k.lines) - before) // results)
    return result


def cost_of(expr: Expr) -> int:
    """About how many instructions an expression takes an element."""
    if expr.kind != "map":
        return 1
    return _costs.get((expr.detail.key, _on_complex([o.dtype for o in expr.operands], expr.dtype)), 1)


def _on_complex(operands: Iterable[dtype], result: dtype) -> bool:
    return result.is_complex or any(d.is_complex for d in operands)
