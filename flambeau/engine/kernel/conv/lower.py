"""Lowerings of the records of convolution: which images and weights are laid out anew, and which kernels run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from math import prod

from flambeau.dtypes import FLOAT, INTEGER, dtype
from flambeau.engine.graph import Arg, Call, Meta
from flambeau.engine.kernel import move, search
from flambeau.engine.kernel.complex_products import by_parts
from flambeau.engine.kernel.contract import lower as contract
from flambeau.engine.kernel.contract.product import Operand
from flambeau.engine.kernel.contract.product import Product as Matrices
from flambeau.engine.kernel.conv import (
    channels,
    choose,
    depthwise,
    depthwise_back,
    geometry,
    integers,
    pixels,
    weights,
    winograd_lower,
)
from flambeau.engine.kernel.conv.choose import Sizes
from flambeau.engine.kernel.conv.geometry import Layout, Product, Shape
from flambeau.engine.kernel.conv.lanes import Store, power
from flambeau.engine.kernel.conv.prepare import Image, Panels, computed, padded, weight_panels, width_of
from flambeau.engine.kernel.conv.winograd_lower import Planes
from flambeau.engine.kernel.pool.windows import Windows
from flambeau.engine.kernel.search import Choices
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Epilogue, Site, Unsupported
from flambeau.shape import Ints, contiguous_strides, is_contiguous

NONE = (0, 0, 0)
SMALL = 36  # pixels of an image
FEW_ROWS = 32  # of an image that may leave out taps above and below
COLUMNS = 16  # vectors of a plane that may become columns


def _check(call: Call) -> None:
    for x in (*call.inputs, *call.metas):
        if x is not None and (x.dtype.category != FLOAT or x.dtype is not call.metas[0].dtype):
            raise Unsupported("convolution of other than floats of one dtype")


def _contiguous(site: Site, operand: Arg) -> Address:
    """The operand in row-major order and the dtype of sums, copied if it is not so."""
    kind = computed(operand.dtype)
    if kind is operand.dtype and is_contiguous(operand.shape, operand.strides):
        return site.source(operand)
    memory = site.temp(prod(operand.shape) * kind.itemsize)
    target = move.Window(memory, contiguous_strides(operand.shape), kind)
    move.copy(site, operand.shape, target, move.window(site, operand))
    return memory


def _planes(site: Site, operand: Arg) -> Planes:
    """The operand as planes of the dtype of sums, copied if it does not lie so."""
    if computed(operand.dtype) is operand.dtype and has_planes(operand.shape, operand.strides):
        return Planes(site.source(operand), operand.strides[:2])
    return Planes(_contiguous(site, operand), contiguous_strides(operand.shape)[:2])


def _fits(image: Image, low: Ints, frame: Ints) -> bool:
    """Whether a frame needs no zeros around the image."""
    return not any(low) and all(f <= n for f, n in zip(frame, image.size))


def _frame_copy(image: Image, batch: int, low: Ints, frame: Ints) -> int:
    """Pixels of the frame that small images can do without; of larger ones, too much lies between the images."""
    if _fits(image, low, frame) or prod(image.size) > SMALL:
        return 0
    return batch * image.channels * prod(frame)


def _framed(site: Site, image: Image, batch: int, low: Ints, frame: Ints, split: int, neighbours: bool) -> Image:
    """The image in its frame of zeros; the image itself where it already is what the kernel reads."""
    fits = _fits(image, low, frame)
    together = split == 1 and (image.layout.dims[2] == 1 or image.size[2] == 1)
    if fits and image.dtype is computed(image.dtype) and (together or not neighbours):
        return image
    return padded(site, image, batch, low, frame, split)


def _split_copy(shape: Shape, x: Arg) -> int:
    """Pixels that strided rows of pixels cost to lay out; where there is padding, all kernels pay most of that."""
    if shape.stride[2] == 1:
        return 0
    padded_anyway = any(shape.low) or any(r > n for r, n in zip(shape.reach(), shape.size))
    return prod(x.shape) // (4 if padded_anyway else 1)


def _sizes(product: Product, d: dtype, framed: int = 0, copied: int = 0) -> Sizes:
    few_rows = len(product.places[0]) == 1 < product.batch and 1 < product.grid[1] <= FEW_ROWS
    inner = product.inner_taps if framed or few_rows else ()
    few_rows = few_rows and inner[1] < 0.9 * len(product.places[1])
    return Sizes(
        product.batch, product.groups, product.depth, product.width, product.grid, len(product.taps), width_of(d),
        inner, len(product.places[2]), few_rows, framed, copied,
    )  # fmt: skip


class _Weights:
    """Where weights and bias are, and their dtype as given: that of the result."""

    def __init__(self, site: Site, w: Arg, b: Arg | None) -> None:
        self.address, self.dtype = _contiguous(site, w), w.dtype
        self.bias = None if b is None else _contiguous(site, b)


def _launch(
    site: Site, product: Product, tile: channels.Tile | pixels.Tile, image: Image, given: _Weights,
    epilogue: Epilogue | None,
) -> None:  # fmt: skip
    """Launch a product with its tile."""
    step = product.out_steps[2] if product.grid[2] > 1 else 1
    store = Store(given.dtype, step, epilogue, channels.EPILOGUE)
    sizes = _sizes(product, given.dtype)
    address = given.address
    kernel: channels.ChannelKernel | pixels.PixelKernel
    if isinstance(tile, channels.Tile):
        panels = weight_panels(product, image.dtype, tile.vectors)
        address = panels.launch(site, given.address, "pack weights")
        panel_major = panels.groups * panels.count * panels.room * image.dtype.itemsize > choose.fast_memory()[1]
        kernel = channels.ChannelKernel(
            product, tile, panels, image.dtype, store, given.bias is not None, panel_major
        )  # fmt: skip
    else:
        ahead = choose.brought_near(sizes, image.dtype.itemsize)
        kernel = pixels.PixelKernel(
            product, tile, image.dtype, store, given.bias is not None, image.whole, ahead
        )  # fmt: skip
    args = (
        image.address, address, site.result(), given.bias or 0, product.depth, len(product.taps),
        *(epilogue.args if epilogue is not None else ()),
    )  # fmt: skip
    site.launch(
        Kernel(kernel.key, kernel.emit), args, kernel.tasks, cost=choose.product_time(sizes, tile),
        note=f"convolution {product.depth}->{product.width} {product.grid}",
        work=(product.flops, 0.0),
    )  # fmt: skip


# -- pointwise -------------------------------------------------------------------------------------------------


def _flattened(call: Call, kernel: Ints) -> Call:
    """A 1x1 convolution that meets every pixel once, with its images as long rows; other calls as they are."""
    window, n = call.params["window"], len(kernel)
    plain = max(kernel) == max(window.stride) == 1 and not any(sum(window.padding, ()))
    images = [x for x in call.inputs if isinstance(x, Arg) and len(x.shape) == n + 2]
    planes = [(x.shape, x.strides) for x in images] + [(meta.shape, meta.layout) for meta in call.metas]
    if n == 1 or not plain or not all(has_planes(*plane) for plane in planes):
        return call
    inputs = tuple([
        x._replace(shape=_flat(x.shape), strides=(*x.strides[:2], 1)) if any(x is image for image in images) else x
        for x in call.inputs
    ])  # fmt: skip
    params = {**call.params, "window": window._replace(stride=(1,), padding=((0, 0),), dilation=(1,))}
    metas = tuple([
        meta._replace(shape=_flat(meta.shape), strides=(*meta.layout[:2], 1)) for meta in call.metas
    ])  # fmt: skip
    return Call(call.op, inputs, params, metas, call.outputs)


def _flat(shape: Ints) -> Ints:
    return (*shape[:2], prod(shape[2:]))


def has_planes(shape: Ints, strides: Ints) -> bool:
    """Whether the pixels of every channel of [N, C, *spatial] are a run in row-major order."""
    return is_contiguous(shape[2:], strides[2:])


# -- depthwise -------------------------------------------------------------------------------------------------


def _depthwise(shape: Shape, call: Call) -> bool:
    """Whether every channel is by itself, and the planes lie as the kernels of that read them."""
    wide = all(x is None or x.dtype.itemsize >= 4 for x in call.inputs)
    alone = shape.groups > 1 and shape.inputs == shape.outputs == 1 and shape.taps <= 25
    planes = all(has_planes(meta.shape, meta.layout) for meta in call.metas)
    return wide and alone and planes and shape.kernel[0] == shape.size[0] == shape.out[0] == 1


def _launch_depthwise(
    site: Site,
    shape: Shape,
    windows: Windows,
    x: Arg,
    w: Arg,
    b: Arg | None,
    result: depthwise.Steps,
    flipped: bool,
    epilogue: Epilogue | None,
) -> None:
    store = Store(x.dtype, 1, epilogue, depthwise.EPILOGUE)
    address, steps = _planes(site, x)
    kernel = depthwise.DepthwiseKernel(
        windows, x.dtype, shape.batch, shape.groups, steps, result, store, b is not None, flipped
    )  # fmt: skip
    bias = 0 if b is None else _contiguous(site, b)
    args = address, _contiguous(site, w), site.result(), bias
    pixel_count = shape.batch * shape.groups * prod(windows.out)
    site.launch(
        Kernel(kernel.key, kernel.emit), args if epilogue is None else (*args, *epilogue.args),
        shape.batch * shape.groups, cost=choose.CYCLE * pixel_count * shape.taps * 1.5 / width_of(x.dtype),
        note=f"depthwise {shape.groups} {windows.out}", work=(2.0 * pixel_count * shape.taps, 0.0),
    )  # fmt: skip


def _spread_depthwise(site: Site, shape: Shape, g: Arg, w: Arg, b: Arg | None, result: depthwise.Steps) -> None:
    address, steps = _planes(site, g)
    windows = Windows(shape.size, Image.of(site, g).size, shape.kernel, shape.stride, shape.low, shape.dilation)
    kernel = depthwise_back.DepthwiseSpread(
        windows, g.dtype, shape.batch, shape.groups, steps, result, Store(g.dtype, 1, None, 0), b is not None
    )  # fmt: skip
    pixel_count = shape.batch * shape.groups * prod(windows.out)
    site.launch(
        Kernel(kernel.key, kernel.emit),
        (address, _contiguous(site, w), site.result(), 0 if b is None else _contiguous(site, b)),
        shape.batch * shape.groups, cost=choose.CYCLE * pixel_count * shape.taps * 1.5 / width_of(g.dtype),
        note=f"depthwise {shape.groups} {windows.size}", work=(2.0 * pixel_count * shape.taps, 0.0),
    )  # fmt: skip


def _depthwise_weights(site: Site, shape: Shape, grid: Ints, g: Arg, x: Arg) -> None:
    windows = Windows(shape.size, grid, shape.kernel, shape.stride, shape.low, shape.dilation)
    (x_address, x_steps), (g_address, g_steps) = _planes(site, x), _planes(site, g)
    kernel = depthwise.DepthwiseGradient(windows, g.dtype, shape.batch, x_steps, g_steps, Store(g.dtype, 1, None, 0))
    pixel_count = shape.batch * shape.groups * prod(grid)
    site.launch(
        Kernel(kernel.key, kernel.emit), (x_address, g_address, site.result()), shape.groups,
        cost=choose.CYCLE * pixel_count * shape.taps * 1.5 / width_of(g.dtype), note="depthwise weights",
        work=(2.0 * pixel_count * shape.taps, 0.0),
    )  # fmt: skip


# -- choices ---------------------------------------------------------------------------------------------------

YES_NO = [[True, False]]
PRODUCTS = 1.5  # times what they are estimated to take, products of images do: their rows crowd one another out


def _searched(
    site: Site, name: str, shape: Shape, call: Call, lower: Callable[[Site, Choices, Shape, Call], None]
) -> None:
    """Lower a pass with the choices that are best for its shape."""
    kind = call.metas[0].dtype.name
    search.lowered(
        site, f"{name} {shape} {kind}", lambda where, choices: lower(where, choices, shape, call),
        lambda: search.Scratch.of(call),
    )  # fmt: skip


# -- lowerings -------------------------------------------------------------------------------------------------


@by_parts
def convolution(site: Site, call: Call) -> None:
    """The forward pass."""
    call = _flattened(call, tuple(call.inputs[1].shape[2:]))
    if call.metas[0].dtype.category == INTEGER:
        integers.forward(site, call)
        return
    x, w, b = call.inputs
    _check(call)
    meta = call.metas[0]
    if site.epilogue is not None and not has_planes(meta.shape, meta.layout):
        raise Unsupported("an epilogue on a result without planes")
    if 0 in meta.shape:
        return
    shape = Shape.of(x.shape, w.shape, call.params["window"])
    if shape.inputs == 0:
        raise Unsupported("sums of nothing")
    if _depthwise(shape, call):
        windows = Windows(shape.size, shape.out, shape.kernel, shape.stride, shape.low, shape.dilation)
        _launch_depthwise(site, shape, windows, x, w, b, meta.layout[:2], False, site.epilogue)
        return
    _searched(site, "convolution", shape, call, _forward)


def _forward(site: Site, choices: Choices, shape: Shape, call: Call) -> None:
    x, w, b = call.inputs
    meta = call.metas[0]
    image, result = Image.of(site, x), Layout.of(meta.layout)
    product = geometry.forward(shape, image.layout, shape.low, result)
    framed = _frame_copy(image, shape.batch, shape.low, shape.reach())
    sizes = _sizes(product, x.dtype, framed, _split_copy(shape, x))
    tile = choose.product_tile(sizes)
    time = choose.product_time(_sizes(product, x.dtype, framed), tile)
    if _by_columns(site, choices, shape, call, time):
        return
    given = _Weights(site, w, b)
    if _by_transforms(site, choices, [product], x, given, meta, time, site.epilogue):
        return
    tile = choices.pick("tile", tile, lambda: choose.product_tiles(sizes))
    neighbours, margin, frame = isinstance(tile, pixels.Tile), shape.low, shape.reach()
    if isinstance(tile, channels.Tile) and tile.inner:
        margin, frame = NONE, image.size
    split = shape.stride[2] if neighbours and shape.out[2] > 1 else 1
    image = _framed(site, image, shape.batch, margin, frame, split, neighbours)
    _launch(site, geometry.forward(shape, image.layout, margin, result), tile, image, given, site.epilogue)


def _by_transforms(
    site: Site, choices: Choices, products: list[Product], source: Arg, given: _Weights, meta: Meta, time: float,
    epilogue: Epilogue | None,
) -> bool:  # fmt: skip
    """Launch products by Winograd's transforms, if they can be and take less than `time`."""
    groups = winograd_lower.groups(products, source.dtype) if has_planes(meta.shape, meta.layout) else []
    better = bool(groups) and winograd_lower.time(groups, source.dtype) < choose.WORTHWHILE * time
    if not groups or not choices.pick("by transforms", better, lambda: YES_NO):
        return False
    most, planes = _tiles_of_band(choices), _planes(site, source)
    for group in groups:
        winograd_lower.launch(site, group, most, planes, given.address, given.bias, given.dtype, epilogue)
    return True


def _tiles_of_band(choices: Choices) -> int:
    return choices.pick("tiles of a band", 0, lambda: [choose.BANDS])


def _by_columns(site: Site, choices: Choices, shape: Shape, call: Call, time: float) -> bool:
    """Launch the forward pass over columns, if it can be and takes less than `time`."""
    x, w, b = call.inputs
    lanes, meta = width_of(x.dtype), call.metas[0]
    small = prod(shape.size) <= COLUMNS * lanes and shape.kernel[0] == shape.size[0] == shape.out[0] == 1
    if not small or shape.taps == 1 or x.dtype.itemsize < 4 or not has_planes(meta.shape, meta.layout):
        return False
    room = -(-prod(shape.out) // lanes) * lanes
    product = geometry.of_columns(shape, room, Layout.of(meta.layout))
    copied = shape.batch * shape.groups * product.depth * room // lanes
    sizes = _sizes(product, x.dtype)
    cost, tile = choose.column_tile(sizes, copied)
    if not choices.pick("by columns", cost < time, lambda: YES_NO):
        return False
    tile = choices.pick("column tile", tile, lambda: [choose.column_tiles(sizes)])
    windows = Windows(shape.size, shape.out, shape.kernel, shape.stride, shape.low, shape.dilation)
    kernel = depthwise.Columns(windows, x.dtype, room)
    planes, elements = shape.batch * shape.groups * shape.inputs, copied * lanes
    memory = site.temp(elements * x.dtype.itemsize)
    site.launch(
        Kernel(f"conv columns {lanes} {kernel}", kernel.emit), (_contiguous(site, x), memory), planes,
        cost=choose.CYCLE * 4 * copied, note="columns", work=(0.0, elements * x.dtype.itemsize),
    )  # fmt: skip
    image = Image(memory, x.dtype, product.source, shape.groups * product.depth, product.grid, whole=True)
    _launch(site, product, tile, image, _Weights(site, w, b), site.epilogue)
    return True


def _input_gradient(site: Site, call: Call) -> None:
    call = _flattened(call, tuple(call.inputs[1].shape[2:]))
    if call.metas[0].dtype.category == INTEGER:
        integers.input_gradient(site, call)
        return
    g, w, b = (*call.inputs, None)[:3]
    _check(call)
    meta = call.metas[0]
    if 0 in meta.shape:
        return
    if 0 in g.shape or 0 in w.shape:
        raise Unsupported("sums of nothing")
    shape = Shape.of(meta.shape, w.shape, call.params["window"])
    if _depthwise(shape, call) and max(shape.stride) == 1:
        low = tuple([d * (k - 1) - lo for d, k, lo in zip(shape.dilation, shape.kernel, shape.low)])
        size = Image.of(site, g).size
        windows = Windows(size, shape.size, shape.kernel, shape.stride, low, shape.dilation)
        _launch_depthwise(site, shape, windows, g, w, b, meta.layout[:2], True, None)
        return
    if _depthwise(shape, call) and max(shape.stride) <= depthwise_back.WIDEST and max(shape.dilation) == 1:
        _spread_depthwise(site, shape, g, w, b, meta.layout[:2])
        return
    _searched(site, "input gradient", shape, call, _gradient_products)


def _gradient_products(site: Site, choices: Choices, shape: Shape, call: Call) -> None:
    g, w, b = (*call.inputs, None)[:3]
    meta = call.metas[0]
    residues = geometry.gradient_residues(shape)
    image = Image.of(site, g)
    size = image.size
    low, high = geometry.gradient_margins(residues, image.size)
    frame = tuple([lo + n + hi for lo, n, hi in zip(low, image.size, high)])
    result = Layout.of(meta.layout)
    plain = geometry.input_gradient(shape, residues, image.size, image.layout, NONE, result)
    framed = _frame_copy(image, shape.batch, low, frame) // len(plain)
    sizes = [_sizes(product, g.dtype, framed) for product in plain]
    tiles = [choose.product_tile(s) for s in sizes]
    given = _Weights(site, w, b)
    time = sum(choose.product_time(*tile) for tile in zip(sizes, tiles))
    if _by_transforms(site, choices, plain, g, given, meta, time, None):
        return
    for nr, s in enumerate(sizes):
        tiles[nr] = choices.pick(f"tile {nr}", tiles[nr], functools.partial(choose.product_tiles, s))
    if all(isinstance(tile, channels.Tile) and tile.inner for tile in tiles):
        low, frame = NONE, image.size
    image = _framed(site, image, shape.batch, low, frame, 1, any(isinstance(tile, pixels.Tile) for tile in tiles))
    products = geometry.input_gradient(shape, residues, size, image.layout, low, result)
    unmet = b is None and not all(product.taps for product in products)
    if unmet:  # pixels that a convolution with gaps steps over
        move.fill(site, meta.shape, move.result(site, call), 0, "unmet pixels")
    for product, tile in zip(products, tiles):
        if product.taps or not unmet:
            _launch(site, product, tile, image, given, None)


@by_parts
def input_gradient(site: Site, call: Call) -> None:
    """The gradient of the input."""
    _input_gradient(site, call)


@by_parts
def transposed(site: Site, call: Call) -> None:
    """The transposed convolution: an input's gradient with a bias."""
    _input_gradient(site, call)


@by_parts
def weight_gradient(site: Site, call: Call) -> None:
    """The gradient of the weights."""
    call = _flattened(call, tuple(call.metas[0].shape[2:]))
    g, x = call.inputs
    _check(call)
    meta = call.metas[0]
    if 0 in meta.shape:
        return
    if 0 in g.shape or not is_contiguous(meta.shape, meta.layout):
        raise Unsupported("sums of nothing, or weights that are not row-major")
    shape = Shape.of(x.shape, tuple(meta.shape), call.params["window"])
    gradient = Image.of(site, g)
    grid = gradient.size
    if _depthwise(shape, call):
        _depthwise_weights(site, shape, grid, g, x)
        return
    _searched(site, "weight gradient", shape, call, _gradient_sums)


def _gradient_sums(site: Site, choices: Choices, shape: Shape, call: Call) -> None:
    g, x = call.inputs
    gradient = Image.of(site, g)
    grid = gradient.size
    sizes = Sizes(
        shape.batch, shape.groups, shape.inputs, shape.outputs, grid, shape.taps, width_of(g.dtype), (),
        shape.kernel[2], copied=_split_copy(shape, x),
    )  # fmt: skip
    tile = choose.gradient_tile(sizes)
    product = geometry.forward(replace(shape, out=grid), Layout.of(x.strides), shape.low, Layout.of(g.strides))
    how = winograd_lower.sums(product, g.dtype)
    better = how is not None and how.cost < choose.WORTHWHILE * choose.gradient_cost(sizes, tile)
    if how is not None and choices.pick("by transforms", better, lambda: YES_NO):
        most = _tiles_of_band(choices)
        winograd_lower.launch_sums(site, product, most, _planes(site, x), _planes(site, g), g.dtype)
        return
    turned = False
    if _pointwise(shape, call):
        back = choose.turned(sizes)
        turned_tile = choose.gradient_tiles(back)[0][0]
        straight_time, turned_time = choose.gradient_cost(sizes, tile), choose.gradient_cost(back, turned_tile)
        if _as_products(site, choices, shape, call, choose.CYCLE * min(straight_time, turned_time)):
            return
        turned = choices.pick("turned", turned_time < straight_time, lambda: YES_NO)
        if turned:
            g, x, sizes, tile = x, g, back, turned_tile
            shape = replace(shape, inputs=shape.outputs, outputs=shape.inputs)
    tile = choices.pick("tile", tile, lambda: choose.gradient_tiles(sizes)[: 1 if turned else None])
    _sum_directly(site, shape, sizes, tile, g, x, turned)


def _pointwise(shape: Shape, call: Call) -> bool:
    """Whether every pixel meets one tap, and the pixels of an image are one run."""
    g, x = call.inputs
    plain = shape.taps == shape.groups == max(shape.stride) == 1 and not any(shape.low) and shape.size[:2] == (1, 1)
    return plain and g.dtype.itemsize >= 4 and g.shape[2:] == x.shape[2:] and g.strides[-1] == x.strides[-1] == 1


def _as_products(site: Site, choices: Choices, shape: Shape, call: Call, time: float) -> bool:
    """Launch the weights' gradient as the sum of a product of each image, if that takes less than `time`."""
    g, x = call.inputs
    left, right = (Operand(site.source(t), t.dtype, t.strides[1], 1, t.strides[:1]) for t in (g, x))
    product = Matrices((shape.batch,), shape.outputs, shape.inputs, shape.size[2], left, right, g.dtype)
    better = contract.sum_time(product) * PRODUCTS < time
    if not choices.pick("as products", better, lambda: YES_NO):
        return False
    contract.launch_sum(site, product, choices)
    return True


def _sum_directly(
    site: Site, shape: Shape, sizes: Sizes, tile: choose.GradientTile, g: Arg, x: Arg, turned: bool
) -> None:
    """Launch the weights' gradient without transforms; `turned` as in `weights.ChannelGradient`."""
    gradient = Image.of(site, g)
    grid = gradient.size
    split = shape.stride[2] if not tile.by_channels and grid[2] > 1 else 1
    source = _framed(site, Image.of(site, x), shape.batch, shape.low, shape.reach(), split, not tile.by_channels)
    problem = weights.Problem(
        shape.batch, shape.groups, shape.inputs, shape.outputs, grid, source.layout,
        source.layout.steps(shape.stride), geometry.source_taps(shape, source.layout),
    )  # fmt: skip
    kernel, address = _gradient_kernel(site, problem, tile, g, gradient, source, turned)
    partial = site.temp(max(kernel.partial, 1) * computed(g.dtype).itemsize)
    note = f"weight gradient {(shape.groups * shape.outputs, shape.inputs, *shape.kernel)}"
    site.launch(
        Kernel(kernel.key, kernel.emit), (source.address, address, partial, site.result(), grid[2]), kernel.tasks,
        cost=choose.CYCLE * choose.gradient_cost(sizes, tile), note=note, work=(problem.flops, 0.0),
    )  # fmt: skip


TASKS = 32  # that the weights' gradient is cut into, where that does not read its operands too often


def _gradient_kernel(
    site: Site,
    problem: weights.Problem,
    tile: choose.GradientTile,
    g: Arg,
    gradient: Image,
    source: Image,
    turned: bool,
) -> tuple[weights.WeightKernel, Address]:
    """The kernel of a tile, and where it reads the gradient."""
    first, second = choose.fast_memory()
    pixel_count = problem.grid[0] * problem.grid[1] * problem.grid[2]
    kind = computed(g.dtype)
    store = Store(g.dtype, 1, None, 0)
    if not tile.by_channels:
        if gradient.dtype is not kind or gradient.layout.dims[2] != 1 and gradient.size[2] > 1:
            gradient = padded(site, gradient, problem.batch, NONE, gradient.size)
        plane = (tile.outputs * pixel_count + source.layout.dims[1] * source.size[1]) * kind.itemsize
        lanes = min(width_of(g.dtype), power(problem.grid[2]))
        block = max(1, first // plane)
        block = problem.batch if problem.batch <= 2 * block else block
        return weights.PixelGradient(
            problem, kind, store, block, tile.inputs, 1, tile.taps, tile.outputs, lanes, gradient.layout,
        ), gradient.address  # fmt: skip
    at, (image_step, channel_step) = _planes(site, g)
    panels = Panels(
        kind, tile.outputs, problem.groups, problem.outputs * channel_step, problem.outputs, channel_step,
        problem.batch, image_step, pixel_count,
    )  # fmt: skip
    address = panels.launch(site, at, "pack gradient")
    count = -(-problem.inputs // tile.inputs)
    units = panels.groups * panels.count
    block = max(1, second // (panels.slab_room * kind.itemsize))
    tiles = max(1, count * units // TASKS)
    return weights.ChannelGradient(
        problem, kind, store, min(block, problem.batch), tile.inputs, min(tiles, count), tile.taps, panels, turned
    ), address  # fmt: skip
