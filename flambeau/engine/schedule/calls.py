"""A call as expressions: by the `lower` field of its op's record."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg, Call, Meta, Number
from flambeau.engine.kernel.nest import Function
from flambeau.engine.schedule.expressions import WIDE, Expr, Tensors, tried
from flambeau.engine.schedule.lowering import Composite, Unsupported

_supported: dict[tuple, Any] = {}


def results_of(t: Tensors, call: Call, operand: Any) -> list[Expr]:
    """The results of a call whose lowering is elementwise or composite; `operand` makes an expression of an Arg."""
    lower = call.op.lower
    compute = call.metas[0].compute
    inputs = [_operand(t, x, compute, call, operand) for x in call.inputs]
    if isinstance(lower, Composite):
        made = lower.function(t, *inputs, **call.params)
        made = made if isinstance(made, (tuple, list)) else (made,)
        return [_shaped(t, t.cast(x, meta.dtype), meta) for x, meta in zip(made, call.metas, strict=True)]
    return [_elementwise(t, call, inputs, nr) for nr in range(len(call.metas))]


def _operand(t: Tensors, x: Any, compute: dtype | None, call: Call, operand: Any) -> Any:
    if isinstance(x, Arg):
        return operand(x) if compute is None or compute is x.dtype else t.cast(operand(x), compute)
    if x is None:
        return None
    d = compute or _number_dtype(x, call)
    if isinstance(x, Number):
        return Expr(t, "number", (), WIDE.get(d, d), (), (x.slot, x.kind))
    if isinstance(x, (bool, int, float, complex, np.generic)):
        wide = WIDE.get(d, d)  # beside narrow floats, numbers are as precise as the arithmetic
        return t.constant(np.asarray(x).astype(wide.np).item(), wide)
    raise Unsupported(f"an operand of type {type(x).__name__}")


def _number_dtype(x: Any, call: Call) -> dtype:
    """What NumPy makes of a number among arrays whose dtypes are left as they are."""
    given = [a.dtype for a in call.inputs if isinstance(a, Arg)]
    kind = x.kind if isinstance(x, Number) else type(x)
    if issubclass(kind, (complex, np.complexfloating)):
        return next((d for d in given if d.is_complex), dtypes.complex128)
    if kind is float or issubclass(kind, np.floating):
        return next((d for d in given if d.category >= dtypes.FLOAT), dtypes.float64)
    return given[0] if given and given[0] not in (dtypes.bool_, dtypes.uint8) else dtypes.int64  # those may be a mask


def _shaped(t: Tensors, x: Expr, meta: Meta) -> Expr:
    if prod(x.shape) != prod(meta.shape):
        raise AssertionError(f"the lowering gave shape {x.shape}, the shape rule {meta.shape}")
    return t.reshape(x, meta.shape)


def _elementwise(t: Tensors, call: Call, inputs: list[Any], nr: int) -> Expr:
    """One result of a plain function of elements."""
    lower, params, meta = call.op.lower, call.params, call.metas[nr]
    if any(isinstance(p, np.ndarray) for p in params.values()):
        raise Unsupported("arrays as parameters of an elementwise op")
    given = [x for x in inputs if x is not None]
    places = tuple(x is not None for x in inputs)
    several = call.op.multiple

    def apply(s: Any, *values: Any) -> Any:
        rest = iter(values)
        result = lower(s, *[next(rest) if there else None for there in places], **params)
        return s.cast(result[nr] if several else result)  # bytes wrap around here, not only in memory

    missing = "" if all(places) else repr(places)
    key = f"{call.op.name}{missing}{repr(sorted(params.items())) if params else ''}{f'[{nr}]' if several else ''}"
    function = Function(key, apply)
    _check(function, tuple([x.dtype for x in given]), WIDE.get(meta.dtype, meta.dtype), len(call.metas))
    spread = tuple([t.expand(x, meta.shape) if x.shape != meta.shape else x for x in given])
    wide = WIDE.get(meta.dtype, meta.dtype)
    if not spread:
        raise Unsupported("no operands")
    result = t.placed(Expr(t, "map", meta.shape, wide, spread, function))
    return t.cast(result, meta.dtype) if wide is not meta.dtype else result


def _check(function: Function, operands: tuple[dtype, ...], result: dtype, results: int) -> None:
    """Raise Unsupported (again) where a function does not cover operands."""
    key = function.key, operands, result
    if key not in _supported:
        try:
            tried(function, operands, result, results)
            _supported[key] = None
        except Unsupported as error:
            _supported[key] = error
    if _supported[key] is not None:
        raise _supported[key]
