"""Convolutions of integers, which wrap around: one loop nest a product, over an image in its frame of zeros.

Taps lie evenly spaced in every pass, so that they are axes of the nest. Lanes run along the columns of the result.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product as combinations
from math import prod
from operator import mul

from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import move
from flambeau.engine.kernel.contract.integers import PRODUCT, STRIPS, SUM, lanes_of
from flambeau.engine.kernel.conv import geometry
from flambeau.engine.kernel.conv.geometry import DIMS, Layout, Product, Shape
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window
from flambeau.engine.kernel.nest import Access, Axis, Nest, Step, Store
from flambeau.engine.kernel.pool.planes import contiguous
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides


def forward(site: Site, call: Call) -> None:
    """The convolution of integers of one dtype."""
    if 0 in call.metas[0].shape:
        return
    x, w, b = _operands(site, call)
    shape = Shape.of(x.shape, call.inputs[1].shape, call.params["window"])
    source = _framed(site, x, shape.low, shape.reach())
    result = move.result(site, call)
    product = geometry.forward(shape, Layout.of(source.strides), shape.low, Layout.of(result.strides))
    if product.steps[-1] > 1 and product.grid[-1] > 1 and product.width > 1:
        product, source = _by_columns(site, shape, product, source)
    _launch(site, product, source, w, b, result)


def input_gradient(site: Site, call: Call) -> None:
    """The gradient of a convolution's input, or the transposed convolution, of integers of one dtype."""
    if 0 in call.metas[0].shape:
        return
    g, w, b = _operands(site, call)
    result = move.result(site, call)
    shape = Shape.of(call.metas[0].shape, call.inputs[1].shape, call.params["window"])
    residues, size = geometry.gradient_residues(shape), _size(g)
    low, high = geometry.gradient_margins(residues, size)
    source = _framed(site, g, low, tuple([lo + n + hi for lo, n, hi in zip(low, size, high)]))
    layout = Layout.of(source.strides), low, Layout.of(result.strides)
    products = geometry.input_gradient(shape, residues, size, *layout)
    if not all(product.taps for product in products):  # pixels that a convolution with gaps steps over
        _begin(site, call.metas[0].shape, result, b)
    for product in products:
        if product.taps:
            _launch(site, product, source, w, b, result)


def _operands(site: Site, call: Call) -> tuple[Arg, Window, Window | None]:
    x, w, b = (*call.inputs, None)[:3]
    d = call.metas[0].dtype
    if site.epilogue is not None or any(v is not None and v.dtype is not d for v in (x, w, b)):
        raise Unsupported("a convolution of integers with more to it")
    if 0 in x.shape or 0 in w.shape:
        raise Unsupported("sums of nothing")
    weights = Window(contiguous(site, w), contiguous_strides(w.shape), d)
    return x, weights, None if b is None else move.window(site, b)


def _size(x: Arg) -> Ints:
    return (*(1,) * (DIMS + 2 - len(x.shape)), *x.shape[2:])


def _begin(site: Site, shape: Ints, into: Window, bias: Window | None) -> None:
    if bias is None:
        move.fill(site, shape, into, 0, "unmet pixels")
    else:
        each = bias._replace(strides=(0, *bias.strides, *(0,) * (len(shape) - 2)))
        move.copy(site, shape, into, each, "unmet pixels")


def _framed(site: Site, x: Arg, low: Ints, frame: Ints) -> Window:
    """The image [N, C, depth, height, width] in a frame of zeros; where it needs none, as it lies."""
    size, missing = _size(x), DIMS + 2 - len(x.shape)
    strides = (*x.strides[:2], *(0,) * missing, *x.strides[2:])
    image = Window(site.source(x), strides, x.dtype)
    if not any(low) and all(f <= n for f, n in zip(frame, size)):
        return image
    shape = (*x.shape[:2], *frame)
    framed = Window(site.temp(prod(shape) * x.dtype.itemsize), contiguous_strides(shape), x.dtype)
    move.fill(site, shape, framed, 0, "frame")
    kept = tuple([max(0, min(n, f - lo)) for n, f, lo in zip(size, frame, low)])
    inside = framed.part(sum(lo * s for lo, s in zip(low, framed.strides[2:])))
    move.copy(site, (*x.shape[:2], *kept), inside, image, "frame")
    return framed


def _by_columns(site: Site, shape: Shape, p: Product, source: Window) -> tuple[Product, Window]:
    """The product over a copy in which what a tap of a row meets lies side by side: it is gathered once, instead of for
    every channel of the result."""
    taps, rows = shape.kernel[-1], shape.reach()[:-1]
    sizes = (p.batch, p.groups * p.depth, *rows, taps, p.grid[-1])
    near = Window(site.temp(prod(sizes) * source.dtype.itemsize), contiguous_strides(sizes), source.dtype)
    *outer, column = source.strides
    move.copy(site, sizes, near, source._replace(strides=(*outer, column * shape.dilation[-1], p.steps[-1])), "columns")
    layout = Layout(near.strides[0], near.strides[1], (*near.strides[2:4], 1))
    reach = (*[d * s for d, s in zip(shape.dilation, near.strides[2:4])], near.strides[4])
    offsets = tuple([sum(map(mul, tap, reach)) for tap in combinations(*map(range, shape.kernel))])
    return replace(p, source=layout, steps=layout.steps((*shape.stride[:2], 1)), taps=offsets), near


def _launch(site: Site, p: Product, source: Window, w: Window, bias: Window | None, result: Window) -> None:
    d, counts = result.dtype, tuple(map(len, p.places))
    taps, weights = (_steps(numbers, counts) for numbers in (p.taps, p.weight_taps))
    step, out = p.steps, p.out_steps
    columns = [
        # extent, reduced, and steps in source, weights, result and bias
        (p.batch, False, p.source.batch, 0, p.out_batch, 0),
        (p.groups, False, p.source.channel * p.depth, p.weight_group, p.out_channel * p.width, p.width),
        (p.width, False, 0, p.weight_out, p.out_channel, 1),
        *[(p.grid[dim], False, step[dim], 0, out[dim], 0) for dim in range(DIMS - 1)],
        (p.depth, True, p.source.channel, p.weight_in, 0, 0),
        *[(counts[dim], True, taps[dim], weights[dim], 0, 0) for dim in range(DIMS)],
        (p.grid[-1], False, step[-1], 0, out[-1], 0),
    ]
    one_sum = max(p.depth, *counts) == 1
    kept = [c for nr, c in enumerate(columns) if c[0] > 1 or nr == len(columns) - 1 or (one_sum and c[1])]
    extents, reduced, *walks = zip(*kept)
    places = [source.part(p.taps[0]).address, w.part(p.weight_taps[0]).address, result.part(p.out_first).address]
    steps = [
        Step("load", d, (), 0), Step("load", d, (), 1), Step("map", d, (0, 1), PRODUCT), Step("reduce", d, (2,), "sum"),
    ]  # fmt: skip
    if bias is not None:
        steps += [Step("load", d, (), 3), Step("map", d, (3, 4), SUM)]
        places.append(bias.address)
        walks[3] = tuple([step * bias.strides[0] for step in walks[3]])
    width = lanes_of(d)
    nest = Nest(
        tuple(map(Axis, extents, reduced)), len(extents) - 1, width,
        [Access(walk, d) for walk, _ in zip(walks, places)], steps, [Store(len(steps) - 1, 2, False)], 1,
        max(1, min(STRIPS, p.grid[-1] // width)),
    )  # fmt: skip
    moved = float(d.itemsize * (p.pixels * p.groups * p.width + p.batch * p.groups * p.depth * prod(p.size)))
    site.launch(
        Kernel(nest.key, lambda k: emit_nest(k, nest), nest), tuple(places), nest.tasks, p.flops / width / 5,
        f"convolution {p.depth}->{p.width} {p.grid} {d.name}", (p.flops, moved),
    )  # fmt: skip


def _steps(offsets: Ints, counts: Ints) -> Ints:
    """How far apart taps lie, per dimension; `offsets` of all of them, in row-major order."""
    return tuple([
        offsets[stride] - offsets[0] if n > 1 else 0 for n, stride in zip(counts, contiguous_strides(counts))
    ])  # fmt: skip
