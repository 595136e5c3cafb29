"""Products of complex matrices as products of real ones, twice as deep and twice as wide.

In memory a complex number is its real and its imaginary part, so a row of the left operand is already the real row
[re, im, re, im ...], and a row of the result too. What that takes of the right operand is two rows for each of its own:
b itself, and i b.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel.contract.product import Addend, Operand, Product
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window, copy
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

_CONJUGATE = Function("conjugate", lambda s, x: s.conj(x))
_QUARTER_TURN = Function("quarter turn", lambda s, x: s.complex(-s.imag(x), s.real(x)))


def as_real(site: Site, p: Product) -> Product:
    """The product of real numbers that gives the memory of a complex one; launches what lays out its operands."""
    if site.epilogue is not None or not p.a.dtype is p.b.dtype is p.dtype:
        raise Unsupported("a product of complex and other numbers, or with more to it")
    if p.rows == 1:  # the right operand is copied: let it be the vector
        c = p.addend and p.addend._replace(rows=p.addend.columns, columns=p.addend.rows)
        p = replace(p, rows=p.columns, columns=1, a=p.b, b=p.a, addend=c)
    alpha = 1.0 if isinstance(p.alpha, complex) else p.alpha
    return Product(
        p.sizes, p.rows, 2 * p.columns, 2 * p.depth, _left(site, p), _right(site, p), p.dtype.to_real(), alpha,
        _added(site, p),
    )  # fmt: skip


def _own(p: Product, batch: Ints) -> Ints:
    """The batch dimensions, those of one element where an operand is the same in all of them."""
    return tuple([n if step else 1 for n, step in zip(p.sizes, batch)])


def _steps(own: Ints, shape: Ints) -> tuple[Ints, Ints]:
    """Strides of row-major memory: of batch dimensions (0 where there is but one element), and of the others."""
    strides = contiguous_strides((*own, *shape))
    return tuple([s if n > 1 else 0 for n, s in zip(own, strides)]), strides[len(own) :]


def _scratch(site: Site, shape: Ints, d: dtype) -> Address:
    return site.temp(prod(shape) * d.itemsize)


def _times(factor: complex) -> Function:
    return Function(f"times {factor!r}", lambda s, x: s.mul(x, factor))


def _launch(
    site: Site, sizes: Ints, accesses: list[Access], steps: list[Step], stores: list[Store], args: tuple[Address, ...],
    note: str,
) -> None:  # fmt: skip
    """Launch elementwise work on matrices."""
    d = accesses[0].dtype
    nest = Nest(
        tuple(map(Axis, sizes)), len(sizes) - 1, vector_bytes() // d.to_real().itemsize, accesses, steps, stores
    )  # fmt: skip
    moved = float(len(accesses) * prod(sizes) * d.itemsize)
    kernel = Kernel(nest.key, lambda k: emit_nest(k, nest), nest)
    site.launch(kernel, args, nest.tasks, moved / 20, note, (0.0, moved))


def _left(site: Site, p: Product) -> Operand:
    """The rows of the left operand as parts in turns."""
    a = p.a
    if a.inner != 1 and p.depth > 1:
        own = _own(p, a.batch)
        batch, (outer, _) = _steps(own, (p.rows, p.depth))
        shape = (*own, p.rows, p.depth)
        at = _scratch(site, shape, a.dtype)
        copy(site, shape, Window(at, (*batch, outer, 1), a.dtype), Window(a.at, (*a.batch, a.outer, a.inner), a.dtype))
        a = Operand(at, a.dtype, outer, 1, batch)
    return Operand(a.at, a.dtype.to_real(), 2 * a.outer, 1, tuple([2 * s for s in a.batch]))


def _right(site: Site, p: Product) -> Operand:
    """Both rows for each row of the right operand, or the columns of that, if the operand lies along the sum."""
    b, own = p.b, _own(p, p.b.batch)
    along = b.inner == 1 and b.outer != 1
    rows, columns = (p.columns, p.depth) if along else (p.depth, p.columns)
    batch, (row, _) = _steps(own, (2 * rows, columns))
    at = _scratch(site, (*own, 2 * rows, columns), b.dtype)
    if rows * columns * prod(own):
        source = (*b.batch, *((b.outer, b.inner) if along else (b.inner, b.outer)))
        steps = [Step("load", b.dtype, (), 0)]
        if isinstance(p.alpha, complex):
            steps.append(Step("map", b.dtype, (0,), _times(p.alpha)))
        if along:  # both columns are (re, -im, re, -im ...) and (im, re, im, re ...)
            steps.append(Step("map", b.dtype, (len(steps) - 1,), _CONJUGATE))
        steps.append(Step("map", b.dtype, (len(steps) - 1,), _QUARTER_TURN))
        target = Access((*batch, 2 * row, 1), b.dtype)
        stores = [Store(len(steps) - 2, 1, True), Store(len(steps) - 1, 2, True)]
        args = (b.at, at, at._replace(offset=at.offset + row * b.dtype.itemsize))
        _launch(site, (*own, rows, columns), [Access(source, b.dtype), target, target], steps, stores, args, "b and ib")
    outer, inner = (2 * row, 1) if along else (1, 2 * row)
    return Operand(at, b.dtype.to_real(), outer, inner, tuple([2 * s for s in batch]))


def _added(site: Site, p: Product) -> Addend | None:
    """What is added, with its rows as parts in turns."""
    c = p.addend
    if c is None:
        return None
    if c.dtype is not p.dtype:
        raise Unsupported("a sum of products of several dtypes")
    turns = isinstance(c.beta, complex)
    if turns or (c.columns != 1 and p.columns > 1):
        shape = (*p.sizes, p.rows, p.columns)
        *batch, rows, columns = strides = contiguous_strides(shape)
        at, source = _scratch(site, shape, c.dtype), (*c.batch, c.rows, c.columns)
        if turns:
            steps = [Step("load", c.dtype, (), 0), Step("map", c.dtype, (0,), _times(c.beta))]
            accesses = [Access(source, c.dtype), Access(strides, c.dtype)]
            _launch(site, shape, accesses, steps, [Store(1, 1, True)], (c.at, at), "addend")
        else:
            copy(site, shape, Window(at, strides, c.dtype), Window(c.at, source, c.dtype))
        c = Addend(at, c.dtype, rows, columns, tuple(batch), 1.0 if turns else c.beta)
    return Addend(c.at, c.dtype.to_real(), 2 * c.rows, 1, tuple([2 * s for s in c.batch]), c.beta)
