"""Lowerings of the ops that read and write at index tensors: gather and scatter, index and index_put, embedding.

Each says, in strides over one common shape, where operands and result stand; the kernels are `gather`'s and
`gather_scatter`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.dtypes import BOOL, COMPLEX, FLOAT, INTEGER, bfloat16, float16, float32, float64, int64
from flambeau.engine.graph import Arg, Call, Number
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val
from flambeau.engine.kernel.gather import gather as read_at
from flambeau.engine.kernel.gather_scatter import scatter as write_at
from flambeau.engine.kernel.gather_terms import Term
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides, expand_strides


def _without(strides: Ints, dim: int) -> Ints:
    """Strides of something that an index moves along `dim`."""
    return (*strides[:dim], 0, *strides[dim + 1 :])


def _along(n: int, dim: int, step: int) -> Ints:
    """Strides of a vector that lies along one of `n` dimensions."""
    return tuple(step if d == dim else 0 for d in range(n))


def _operand(site: Site, x: Any, ndim: int) -> Window:
    """A tensor, or a number as a window whose every element it is."""
    if isinstance(x, Number):
        return Window(site.number(x.slot), (0,) * ndim, float64 if x.kind is float else int64)
    if not isinstance(x, Arg):
        raise Unsupported(f"{type(x).__name__} as an operand")
    return window(site, x)


def _ordered(site: Site, x: Arg) -> Window:
    """An operand in row-major order: itself or a copy."""
    if x.strides == contiguous_strides(x.shape):
        return window(site, x)
    held = Window(site.temp(x.dtype.itemsize * math.prod(x.shape)), contiguous_strides(x.shape), x.dtype)
    copy(site, x.shape, held, window(site, x))
    return held


# -- reading ---------------------------------------------------------------------------------------------------


def gather(site: Site, call: Call) -> None:
    """`out[i, j] = x[index[i, j], j]`, for dim 0."""
    (x, index), dim = call.inputs, call.params["dim"]
    source = window(site, x).part(0, _without(x.strides, dim))
    term = Term(window(site, index), x.shape[dim], x.strides[dim])
    read_at(site, index.shape, result(site, call), source, [term], "gather")


def index_select(site: Site, call: Call) -> None:
    """Slices of `dim` at a vector of indices."""
    (x, index), dim = call.inputs, call.params["dim"]
    term = Term(window(site, index), x.shape[dim], x.strides[dim])
    term = term._replace(index=term.index.part(0, _along(len(x.shape), dim, index.strides[0])))
    source = window(site, x).part(0, _without(x.strides, dim))
    read_at(site, call.metas[0].shape, result(site, call), source, [term], "index_select")


def embedding(site: Site, call: Call) -> None:
    """Rows of a table."""
    table, index = call.inputs
    term = Term(window(site, index).part(0, (*index.strides, 0)), table.shape[0], table.strides[0])
    source = window(site, table).part(0, (0,) * len(index.shape) + (table.strides[1],))
    read_at(site, call.metas[0].shape, result(site, call), source, [term], "embedding")


def take(site: Site, call: Call) -> None:
    """Elements of a tensor as if it were flat."""
    x, index = call.inputs
    n = math.prod(x.shape)
    if n == 0 and 0 not in index.shape:
        raise Unsupported("an index into nothing")
    source = _ordered(site, x).part(0, (0,) * len(index.shape))
    read_at(site, index.shape, result(site, call), source, [Term(window(site, index), n, 1, True)], "take")


def index(site: Site, call: Call) -> None:
    """`x[indices]`: the dimensions of the indices stand where the first of them is, or in front if they are apart."""
    x, *indices = call.inputs
    shape, whole, terms = _indexed(site, x, indices, x.strides)
    read_at(site, shape, result(site, call), window(site, x).part(0, whole), terms, "index")


def _indexed(site: Site, x: Arg, indices: Sequence[Arg | None], strides: Ints) -> tuple[Ints, Ints, list[Term]]:
    """The shape of `x[indices]`; over it, the strides of an array of the shape of `x`, and the index terms."""
    axes = [d for d, i in enumerate(indices) if i is not None]
    used = [i for i in indices if i is not None]
    spread = _broadcast([i.shape for i in used])
    front = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    rest = [d for d in range(len(x.shape)) if d not in axes]
    before, after = rest[:front], rest[front:]
    shape = (*(x.shape[d] for d in before), *spread, *(x.shape[d] for d in after))
    whole = (*(strides[d] for d in before), *(0 for _ in spread), *(strides[d] for d in after))
    terms = []
    for d, i in zip(axes, used):
        own = (*(0 for _ in before), *expand_strides(i.shape, i.strides, spread), *(0 for _ in after))
        terms.append(Term(window(site, i).part(0, own), x.shape[d], strides[d], True))
    return shape, whole, terms


def _broadcast(shapes: Sequence[Ints]) -> Ints:
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(s)) + s for s in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*padded))


# -- writing ---------------------------------------------------------------------------------------------------


def _onto(site: Site, call: Call, write: Callable[[Window], None], sums: bool) -> None:
    """The first operand as the result, with `write` applied; narrow floats add up in float32 and are rounded once."""
    x, out, shape = call.inputs[0], result(site, call), call.metas[0].shape
    if not (sums and out.dtype in (float16, bfloat16)):
        copy(site, shape, out, window(site, x), call.op.name)
        write(out)
        return
    wide = Window(site.temp(4 * math.prod(shape)), contiguous_strides(shape), float32)
    copy(site, shape, wide, window(site, x), call.op.name)
    write(wide)
    copy(site, shape, out, wide, call.op.name)


def scatter(combine: str) -> Callable[[Site, Call], None]:
    """`out[index[i, j], j] = src[i, j]` (or added to it), for dim 0."""

    def lower(site: Site, call: Call) -> None:
        (x, index, src), dim = call.inputs, call.params["dim"]

        def write(out: Window) -> None:
            term = Term(window(site, index), x.shape[dim], out.strides[dim])
            source = _operand(site, src, len(index.shape))
            write_at(site, index.shape, out.part(0, _without(out.strides, dim)), source, [term], combine, call.op.name)

        _onto(site, call, write, combine != "write")

    return lower


_REDUCTIONS = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}


def scatter_reduce(site: Site, call: Call) -> None:
    """Reductions of all that meets at a place, with what was there or without."""
    (x, index, src), dim, reduce = call.inputs, call.params["dim"], call.params["reduce"]
    kind = x.dtype
    if reduce == "mean" and kind.category <= INTEGER:
        raise Unsupported("means of integers")
    if reduce == "mean" and kind.category == COMPLEX:
        raise Unsupported("means of complex numbers")

    def write(out: Window) -> None:
        place = out.part(0, _without(out.strides, dim))
        term = Term(window(site, index), x.shape[dim], out.strides[dim])
        if not call.params["include_self"]:
            start = Window(site.temp(16), (0,) * len(index.shape), out.dtype)
            fill(site, (1,), start._replace(strides=(1,)), _start(reduce, kind), "scatter_reduce")
            write_at(site, index.shape, place, start, [term], "write", "scatter_reduce")
        write_at(site, index.shape, place, window(site, src), [term], _REDUCTIONS[reduce], "scatter_reduce")
        if reduce == "mean":
            shape = call.metas[0].shape
            seen = contiguous_strides(shape)
            term = term._replace(step=seen[dim])
            met = int(call.params["include_self"])
            _divide_by_counts(site, shape, out, seen, index.shape, _without(seen, dim), term, met)

    _onto(site, call, write, True)


def _start(reduce: str, kind: Any) -> Any:
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    if kind.category == BOOL:
        return reduce == "amin"
    if kind.category == INTEGER:
        bits = 8 * kind.itemsize - kind.is_signed
        low, high = -(2**bits) if kind.is_signed else 0, 2**bits - 1
        return low if reduce == "amax" else high
    return -math.inf if reduce == "amax" else math.inf


def _divide_by_counts(
    site: Site, shape: Ints, out: Window, seen: Ints, indices: Ints, onto: Ints, term: Term, met: int = 0
) -> None:  # fmt: skip
    """Sums divided by how many things met there (at least 1): `met`, and all that the indices lead to.

    `seen` are the strides of the counts along `shape`, `onto` those along the dimensions `indices`.
    """
    n = 1 + sum((size - 1) * step for size, step in zip(shape, seen))
    counts, one = (Window(site.temp(8 * size), (1,), out.dtype) for size in (n, 1))
    fill(site, (1,), one, 1, "counts")
    fill(site, (n,), counts, met, "counts")
    write_at(site, indices, counts.part(0, onto), one.part(0, (0,) * len(indices)), [term], "add", "counts")
    walk = Walk(merged(shape, (out.strides, seen)))
    nbytes = 2.0 * out.dtype.itemsize * math.prod(shape)
    site.launch(_divide(walk, out.dtype), (out.address, counts.address, *walk.words), walk.tasks, nbytes / 10, "mean")


def _divide(walk: Walk, kind: Any) -> Kernel:
    same = walk.strides[1][-1] == 0
    width = vector_bytes() // kind.itemsize if walk.strides[0][-1] == 1 and walk.strides[1][-1] in (0, 1) else 1

    def emit(k: Emitter) -> None:
        with walk.rows(k, 2) as (offsets, [(low, high)], [[to], [on]]):
            type = scalars.memory_type(kind)
            out, counts = k.at(k.pointer(0), offsets[0], type), k.at(k.pointer(1), offsets[1], type)

            def body(i: Index, mask: Val | None) -> None:
                at, from_ = (i, i) if width > 1 else (k.mul(i, to), k.mul(i, on))
                place, lanes = (0, 1) if same else (from_, width)
                count = scalars.load(k, counts, place, kind, lanes, None if same else mask)
                count = k.select(count > 1.0, count, 1.0)
                scalars.store(k, scalars.load(k, out, at, kind, width, mask) / count, out, at, kind, mask)

            lanes_loop(k, low, high, width, body)

    return Kernel(f"means {kind.name} {walk.form} same{same:d} w{width}", emit)


def index_write(combine: str) -> Callable[[Site, Call], None]:
    """Slices of `dim` at a vector of indices, set or added to. Only what is set may count from the end."""

    def lower(site: Site, call: Call) -> None:
        (x, index, src), dim = call.inputs, call.params["dim"]
        shape = (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])
        source = _operand(site, src, len(shape))
        if isinstance(src, Arg):
            source = source.part(0, expand_strides(src.shape, src.strides, shape))

        def write(out: Window) -> None:
            own = window(site, index).part(0, _along(len(shape), dim, index.strides[0]))
            term = Term(own, x.shape[dim], out.strides[dim], combine == "write")
            place = out.part(0, _without(out.strides, dim))
            scale = call.params.get("alpha", 1)
            write_at(site, shape, place, source, [term], combine, call.op.name, scale=scale)

        _onto(site, call, write, combine != "write")

    return lower


def index_put(site: Site, call: Call) -> None:
    """`x[indices] = values`, or added to, the values broadcast."""
    x, values, *indices = call.inputs
    accumulate = call.params["accumulate"]

    def write(out: Window) -> None:
        shape, whole, terms = _indexed(site, x, indices, out.strides)
        source = window(site, values).part(0, expand_strides(values.shape, values.strides, shape))
        write_at(site, shape, out.part(0, whole), source, terms, "add" if accumulate else "write", "index_put")

    _onto(site, call, write, accumulate)


def put(site: Site, call: Call) -> None:
    """Elements of a tensor as if it were flat, set or added to in the order of the indices."""
    x, index, src = call.inputs
    accumulate, n, count = call.params["accumulate"], math.prod(x.shape), math.prod(index.shape)
    source = _ordered(site, src).part(0, (1,))
    places = _ordered(site, index).part(0, (1,))

    def write(out: Window) -> None:
        term = Term(places, n, 1, True)
        write_at(site, (count,), out.part(0, (0,)), source, [term], "add" if accumulate else "write", "put")

    _onto(site, call, write, accumulate)


def embedding_backward(site: Site, call: Call) -> None:
    """The gradient of a table: zeros, to which the rows of `g` are added in order; not for `padding_idx`.

    By frequency: each sum divided by how many rows it is of.
    """
    (g, index), rows, padding = call.inputs, call.params["rows"], call.params["padding_idx"]
    shape, out = call.metas[0].shape, result(site, call)
    wide = out.dtype in (float16, bfloat16)
    sums = Window(site.temp(4 * math.prod(shape)), out.strides, float32) if wide else out
    fill(site, shape, sums, 0, "embedding back")
    term = Term(window(site, index).part(0, (*index.strides, 0)), rows, sums.strides[0])
    place = sums.part(0, (0,) * len(index.shape) + (sums.strides[1],))
    skip = padding if padding >= 0 else None
    write_at(site, g.shape, place, window(site, g), [term], "add", "embedding back", skip)
    if call.params["by_frequency"] and 0 not in (*shape, *index.shape):
        _check_frequencies(sums.dtype, index.shape)
        term = Term(window(site, index), rows, 1)
        _divide_by_counts(site, shape, sums, (1, 0), index.shape, (0,) * len(index.shape), term)
    if wide:
        copy(site, shape, out, sums, "embedding back")


def _check_frequencies(kind: Any, shape: Ints) -> None:
    if kind.category != FLOAT or (kind is float32 and math.prod(shape) > 1 << 24):
        raise Unsupported(f"so many frequencies in {kind}")
