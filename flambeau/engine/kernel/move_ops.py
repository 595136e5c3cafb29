"""Lowerings of the ops that only move elements: joins, pads, flips, repeats, shuffles, triangles, views written into.

Each is a handful of copies between windows. What an op takes from where, one dimension at a time, is a list of places;
`runs` cuts it into stretches that are one copy each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from flambeau.dtypes import COMPLEX, bfloat16, dtype, float16, float32
from flambeau.engine.graph import Call
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import RAW, Window, add, bits_of, copy, fill, large, result, window
from flambeau.engine.kernel.move_braid import MANY as MOST_BESIDE
from flambeau.engine.kernel.move_braid import stacked
from flambeau.engine.kernel.move_rows import Piece, in_rows, write_rows
from flambeau.engine.kernel.move_walk import GRAIN, Walk, lanes_loop, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

MANY = 256  # launches of one op, beyond which its reference is as good

# -- whole copies ----------------------------------------------------------------------------------------------


def clone(site: Site, call: Call) -> None:
    """The last operand, in the layout and dtype of the result."""
    copy(site, call.metas[0].shape, result(site, call), window(site, call.inputs[-1]), call.op.name)


def cat(site: Site, call: Call) -> None:
    """Operands side by side along `dim`."""
    out, dim, start = result(site, call), call.params["dim"], 0
    ndim = len(call.metas[0].shape)
    if len(call.inputs) > MANY:
        raise Unsupported("very many tensors to join")
    stream = large(call.metas[0].shape, out.dtype)
    for x in call.inputs:
        if len(x.shape) == ndim:
            copy(site, x.shape, out.part(start * out.strides[dim]), window(site, x), "cat", stream)
            start += x.shape[dim]


def stack(site: Site, call: Call) -> None:
    """Operands side by side along a new `dim`."""
    out, dim = result(site, call), call.params["dim"]
    if len(call.inputs) > MANY:
        raise Unsupported("very many tensors to join")
    sources = [window(site, x) for x in call.inputs]
    if dim == len(out.strides) - 1 and _braided(site, call.inputs[0].shape, out, sources):
        return
    stream = large(call.metas[0].shape, out.dtype)
    for nr, (x, source) in enumerate(zip(call.inputs, sources)):
        part = out.part(nr * out.strides[dim], out.strides[:dim] + out.strides[dim + 1 :])
        copy(site, x.shape, part, source, "stack", stream)


def _braided(site: Site, shape: Ints, out: Window, sources: Sequence[Window]) -> bool:
    """Lay sources of `shape` together, if all are runs of the result's elements; say whether."""
    many, size = len(sources), out.dtype.itemsize
    dims = merged(shape, (out.strides[:-1], *(s.strides for s in sources)))
    runs = out.strides[-1] == 1 and dims[-1][1] == (many, *[1] * many)
    alike = size in RAW and all(s.dtype is out.dtype for s in sources)
    if 0 in shape or not (runs and alike and 2 <= many <= MOST_BESIDE):
        return False
    walk = Walk(dims, grain=GRAIN // many)
    nbytes = 2.0 * many * math.prod(shape) * size
    site.launch(
        stacked(walk, many, size, large((*shape, many), out.dtype)),
        (out.address, *(s.address for s in sources), *walk.words), walk.tasks, nbytes / 20, "stack", (0.0, nbytes),
    )  # fmt: skip
    return True


def repeat(site: Site, call: Call) -> None:
    """Each dimension of the result is (times, the operand's dimension): times is a step of 0."""
    (x,), times = call.inputs, call.params["repeats"]
    lead = len(times) - len(x.shape)
    shape, steps = (1,) * lead + x.shape, (0,) * lead + x.strides
    out, source = result(site, call), window(site, x)
    copy(
        site, tuple(n for pair in zip(times, shape) for n in pair),
        out.part(0, tuple(s for n, step in zip(shape, out.strides) for s in (step * n, step))),
        source.part(0, tuple(s for step in steps for s in (0, step))), "repeat",
    )  # fmt: skip


# -- from places, one dimension at a time ----------------------------------------------------------------------


class Run(NamedTuple):
    """`length` places of the result from `at` on, which come from `start`, `start + step`, ..."""

    at: int
    length: int
    start: int
    step: int


def runs(places: Iterable[int]) -> list[Run]:
    """Stretches of equal steps (1, -1 or 0) in a list of places; other steps begin a new stretch."""
    found: list[Run] = []
    for at, place in enumerate(map(int, places)):
        if found:
            last = found[-1]
            step = place - (last.start + last.step * (last.length - 1))
            if (last.length == 1 and step in (-1, 0, 1)) or (last.length > 1 and step == last.step):
                found[-1] = Run(last.at, last.length + 1, last.start, step)
                continue
        found.append(Run(at, 1, place, 1))
    return found


def assemble(site: Site, shape: Ints, out: Window, source: Window, places: Sequence[Sequence[int]], note: str) -> None:
    """Each dimension d of the result takes the elements `places[d]` of the source."""
    if 0 in shape:
        return
    found, stream = [runs(p) for p in places], large(shape, out.dtype)
    inner = [Piece(run.at, run.length, run.start, run.step) for run in found[-1]] if found else []
    if in_rows(out, source, inner):
        for piece in _pieces(found[:-1]):
            sizes = (*(run.length for run in piece), shape[-1])
            taken = _taken(piece, source)._replace(strides=(*_taken(piece, source).strides, 1))
            write_rows(site, sizes, out.part(_offset(piece, out)), taken, inner, note, stream=stream)
    else:
        for piece in _pieces(found):
            part, taken = out.part(_offset(piece, out)), _taken(piece, source)
            copy(site, tuple(run.length for run in piece), part, taken, note, stream)


def assemble_back(site: Site, call: Call, places: Sequence[Sequence[int]], note: str) -> None:
    """The transpose of `assemble`: each element of the operand is added to where `places` says it came from."""
    shape, out, source = call.metas[0].shape, result(site, call), window(site, call.inputs[0])
    wide = out.dtype in (float16, bfloat16)
    sums = Window(site.temp(4 * math.prod(shape)), contiguous_strides(shape), float32) if wide else out
    single = [[part for run in runs(p) for part in _apart(run)] for p in places]
    fill(site, shape, sums, 0, note)
    for piece in _pieces(single):
        add(site, tuple(run.length for run in piece), _taken(piece, sums), source.part(_offset(piece, source)), note)
    if wide:
        copy(site, shape, out, sums, note)


def _apart(run: Run) -> list[Run]:
    """A run whose places differ: those that go to one place are runs of their own."""
    return [run] if run.step else [Run(run.at + i, 1, run.start, 1) for i in range(run.length)]


def _pieces(by_dim: list[list[Run]]) -> list[tuple[Run, ...]]:
    if math.prod(map(len, by_dim)) > MANY:
        raise Unsupported("very many pieces to copy")
    return list(itertools.product(*by_dim))


def _offset(piece: Sequence[Run], place: Window) -> int:
    return sum(run.at * s for run, s in zip(piece, place.strides))


def _taken(piece: Sequence[Run], source: Window) -> Window:
    """The window of what a piece comes from."""
    steps = tuple(run.step * s for run, s in zip(piece, source.strides))
    return source.part(sum(run.start * s for run, s in zip(piece, source.strides)), steps)


def placed(places: Callable[..., Sequence[int]]) -> Callable[[Site, Call], None]:
    """Padding from the tensor itself; `places(n, before, after, mode)` as in the reference."""

    def lower(site: Site, call: Call) -> None:
        sizes, mode = call.inputs[0].shape, call.params["mode"]
        found = [places(n, lo, hi, mode) for n, (lo, hi) in zip(sizes, call.params["pads"])]
        source = window(site, call.inputs[0])
        assemble(site, call.metas[0].shape, result(site, call), source, found, mode + " pad")

    return lower


def placed_back(places: Callable[..., Sequence[int]]) -> Callable[[Site, Call], None]:
    def lower(site: Site, call: Call) -> None:
        sizes, mode = call.metas[0].shape, call.params["mode"]
        found = [places(n, lo, hi, mode) for n, (lo, hi) in zip(sizes, call.params["pads"])]
        assemble_back(site, call, found, mode + " pad back")

    return lower


def flip(site: Site, call: Call) -> None:
    x, out = window(site, call.inputs[0]), result(site, call)
    shape, dims = call.metas[0].shape, call.params["dims"]
    if 0 in shape:
        return
    start = sum((shape[d] - 1) * x.strides[d] for d in dims)
    copy(site, shape, out, x.part(start, tuple(-s if d in dims else s for d, s in enumerate(x.strides))), "flip")


def rot90(site: Site, call: Call) -> None:
    """A quarter turn exchanges two dimensions and walks one of them backwards."""
    (operand,), times, (a, b) = call.inputs, call.params["k"] % 4, call.params["dims"]
    x, shape = window(site, operand), operand.shape
    if 0 in shape:
        return
    backwards = {0: (), 1: (b,), 2: (a, b), 3: (a,)}[times]
    start = sum((shape[d] - 1) * x.strides[d] for d in backwards)
    steps = [-s if d in backwards else s for d, s in enumerate(x.strides)]
    if times % 2:
        steps[a], steps[b] = steps[b], steps[a]
    copy(site, call.metas[0].shape, result(site, call), x.part(start, tuple(steps)), "rot90")


def roll(site: Site, call: Call) -> None:
    """Dimension by dimension, or all of it as one run where no dimensions are named."""
    (x,), dims, shape = call.inputs, call.params["dims"], call.metas[0].shape
    out, source = result(site, call), window(site, x)
    if not dims:
        if x.strides != contiguous_strides(shape):
            held = Window(site.temp(x.dtype.itemsize * math.prod(shape)), contiguous_strides(shape), x.dtype)
            copy(site, shape, held, source, "roll")
            source = held
        out, source = out.part(0, (1,)), source.part(0, (1,))
        shape, dims = (math.prod(shape),), (0,)
    moves = [0] * len(shape)
    for d, s in zip(dims, call.params["shifts"]):
        moves[d] += s
    if 0 not in shape:
        assemble(site, shape, out, source, [_rolled(n, s) for n, s in zip(shape, moves)], "roll")


def _rolled(n: int, shift: int) -> Sequence[int]:
    first = -shift % n
    return [*range(first, n), *range(first)]


def constant_pad(site: Site, call: Call) -> None:
    """The border by itself, one side after another; small results are filled whole, then written over."""
    (x,), pad, value = call.inputs, call.params["pad"], call.params["value"]
    ndim, shape, out = len(x.shape), list(call.metas[0].shape), result(site, call)
    pairs = [(0, 0)] * (ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    kept = tuple(max(n + min(lo, 0) + min(hi, 0), 0) for n, (lo, hi) in zip(x.shape, pairs))
    small = math.prod(shape) < 16384 or 0 in kept
    source = window(site, x)
    start = sum(max(-lo, 0) * s for (lo, _), s in zip(pairs, source.strides))
    row = [] if small else _padded_row(kept[-1], *(max(n, 0) for n in pairs[-1]))
    by_rows, stream = bool(row) and in_rows(out, source, row), large(call.metas[0].shape, out.dtype)
    if small:
        fill(site, tuple(shape), out, value, "pad")
    inner, offset = list(shape), 0
    for d, (lo, hi) in enumerate(pairs):
        for at, n in ((0, max(lo, 0)), (inner[d] - max(hi, 0), max(hi, 0))):
            if n and not small and not (by_rows and d == ndim - 1):
                slab = (*inner[:d], n, *inner[d + 1 :])
                fill(site, slab, out.part(offset + at * out.strides[d]), value, "pad")
        offset += max(lo, 0) * out.strides[d]
        inner[d] = kept[d]
    if by_rows:
        offset -= max(pairs[-1][0], 0)
        rows = (*kept[:-1], shape[-1])
        bits = bits_of(value, out.dtype)
        write_rows(site, rows, out.part(offset), source.part(start), row, "pad", bits, stream)
        return
    copy(site, kept, out.part(offset), source.part(start), "pad", stream)


def _padded_row(n: int, before: int, after: int) -> list[Piece]:
    """A row of `n` elements between constants."""
    row = [Piece(0, before, None), Piece(before, n, 0), Piece(before + n, after, None)]
    return [piece for piece in row if piece.length]


# -- views written into ----------------------------------------------------------------------------------------


def view_scatter(site: Site, call: Call) -> None:
    """A copy of the first operand, with the second in the place of a view of it."""
    x, src = call.inputs
    out = result(site, call)
    copy(site, x.shape, out, window(site, x), "view_scatter")
    shape, strides, offset = call.params["of"].layout(x.shape, out.strides, 0, **call.params["params"])
    if 0 not in shape:
        copy(site, shape, out.part(offset, strides), window(site, src), "view_scatter")


def embed(site: Site, call: Call) -> None:
    """Zeros, with the operand in the place of a view."""
    g, of = call.inputs[0], call.params["of"]
    if of.name in ("as_strided", "unfold"):
        raise Unsupported("windows that overlap")
    out = result(site, call)
    whole = call.metas[0].shape
    shape, strides, offset = of.layout(whole, out.strides, 0, **call.params["params"])
    if math.prod(shape) != math.prod(whole):
        fill(site, whole, out, 0, "embed")
    if 0 not in shape:
        copy(site, shape, out.part(offset, strides), window(site, g), "embed")


def diag_embed(site: Site, call: Call) -> None:
    """Zeros, with the operand's last dimension along a diagonal."""
    x, out, k = call.inputs[0], result(site, call), call.params["k"]
    rows, columns = call.params["dim1"], call.params["dim2"]
    fill(site, call.metas[0].shape, out, 0, "diag_embed")
    rest = tuple(s for d, s in enumerate(out.strides) if d not in (rows, columns))
    start = max(-k, 0) * out.strides[rows] + max(k, 0) * out.strides[columns]
    steps = (*rest, out.strides[rows] + out.strides[columns])
    copy(site, x.shape, out.part(start, steps), window(site, x), "diag_embed")


def triangle(lower: bool) -> Callable[[Site, Call], None]:
    """`tril`, `triu`: whether an element stays is a matter of its column less its row.

    That difference is walked like a third window, whose step is -1 along rows and 1 along columns.
    """

    def lowering(site: Site, call: Call) -> None:
        x, shape, diagonal = window(site, call.inputs[0]), call.metas[0].shape, call.params["diagonal"]
        out = result(site, call)
        if 0 in shape:
            return
        place = (0,) * (len(shape) - 2) + (-1, 1)
        if x.dtype.category == COMPLEX:
            x, out = (w.real()._replace(strides=(*w.real().strides, 1)) for w in (x, out))
            shape, place = (*shape, 2), (*place, 0)
        walk = Walk(merged(shape, (out.strides, x.strides, place)))
        kernel = _triangle_kernel(walk, x.dtype, lower)
        nbytes = 2.0 * math.prod(shape) * x.dtype.itemsize
        words = (out.address, x.address, diagonal, *walk.words)
        site.launch(kernel, words, walk.tasks, nbytes / 20, call.op.name, (0.0, nbytes))

    return lowering


def _triangle_kernel(walk: Walk, d: dtype, lower: bool) -> Kernel:
    raw = RAW[d.itemsize]
    width = vector_bytes() // 8 if walk.strides[0][-1] == walk.strides[1][-1] == 1 else 1

    def emit(k: Emitter) -> None:
        diagonal = k.integer(2)
        with walk.rows(k, 3) as (offsets, [(low, high)], [[to], [step], [onward]]):
            out, source = k.at(k.pointer(0), offsets[0], raw), k.at(k.pointer(1), offsets[1], raw)
            ramp = k.mul(k.ramp(vector("i64", width)), k.splat(onward, width))

            def body(i: Index, mask: Val | None) -> None:
                place = k.add(k.splat(k.add(offsets[2], k.mul(i, onward)), width), ramp)
                kept = place <= diagonal if lower else place >= diagonal
                at, to_at = (i, i) if width > 1 else (k.mul(i, step), k.mul(i, to))
                type = vector(raw, width)
                x = k.load(source, at, type) if mask is None else k.masked_load(source, at, type, mask)
                x = k.select(kept, x, 0)
                if mask is None:
                    k.store(x, out, to_at)
                else:
                    k.masked_store(x, out, to_at, mask)

            lanes_loop(k, low, high, width, body)

    return Kernel(f"{'tril' if lower else 'triu'} {d.itemsize} {walk.form} w{width}", emit)
