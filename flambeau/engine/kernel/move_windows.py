"""Lowerings of the ops that rearrange images: pixels to channels and back, channel shuffles, enlarging, sliding blocks.

Splitting a dimension is a matter of strides, so each of the first is one copy; sliding blocks are one copy, and on the
way back one addition, for each tap of the window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from flambeau.dtypes import bfloat16, float16, float32
from flambeau.engine.graph import Call
from flambeau.engine.kernel.move import Window, add, copy, fill, result, window
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

MOST_TAPS = 400


def _split(strides: Ints, dim: int, *sizes: int) -> Ints:
    """The strides of a dimension as several: the last of `sizes` steps as it did, each before it over those behind."""
    steps = [strides[dim] * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    return (*strides[:dim], *steps, *strides[dim + 1 :])


def pixel_shuffle(site: Site, call: Call) -> None:
    """[..., C r r, H, W] to [..., C, H r, W r]."""
    (x,), r = call.inputs, call.params["factor"]
    *lead, c, h, w = x.shape
    n, inside = len(lead), c // (r * r)
    source = _split(x.strides, n, inside, r, r)  # ..., C, r, r, H, W
    out = result(site, call)
    target = _split(_split(out.strides, n + 2, w, r), n + 1, h, r)  # ..., C, H, r, W, r
    target = (*target[: n + 1], target[n + 2], target[n + 4], target[n + 1], target[n + 3])
    copy(site, (*lead, inside, r, r, h, w), out.part(0, target), window(site, x).part(0, source), "pixel_shuffle")


def pixel_unshuffle(site: Site, call: Call) -> None:
    """[..., C, H r, W r] to [..., C r r, H, W]."""
    (x,), r = call.inputs, call.params["factor"]
    *lead, c, h, w = x.shape
    n, h, w = len(lead), h // r, w // r
    source = _split(_split(x.strides, n + 2, w, r), n + 1, h, r)  # ..., C, H, r, W, r
    source = (*source[: n + 1], source[n + 2], source[n + 4], source[n + 1], source[n + 3])
    out = result(site, call)
    target = _split(out.strides, n, c, r, r)
    copy(site, (*lead, c, r, r, h, w), out.part(0, target), window(site, x).part(0, source), "pixel_unshuffle")


def channel_shuffle(site: Site, call: Call) -> None:
    """Channels as [groups, each], the two exchanged."""
    (x,), groups = call.inputs, call.params["groups"]
    each = x.shape[1] // groups
    out = result(site, call)
    source, target = _split(x.strides, 1, groups, each), _split(out.strides, 1, each, groups)
    target = (target[0], target[2], target[1], *target[3:])
    shape = (x.shape[0], groups, each, *x.shape[2:])
    copy(site, shape, out.part(0, target), window(site, x).part(0, source), "channel_shuffle")


# -- enlarging by whole factors --------------------------------------------------------------------------------

Places = Callable[[int, int, bool, "float | None"], Any]  # (size, result's size, exact, scale): where each comes from


def whole_factors(call: Call, places: Places, forward: bool) -> Ints | None:
    """How often each pixel of the small image appears along each dimension; None where that is not the whole story."""
    how, scales, given, size = call.params["how"], call.params["scales"], call.inputs[0].shape[2:], call.params["size"]
    if not how.mode.startswith("nearest"):
        return None
    factors = []
    for n, out, scale in zip(*((given, size) if forward else (size, given)), scales):
        times = out // max(n, 1)
        found = places(n, out, how.mode == "nearest-exact", scale)
        if times * n != out or any(place != at // times for at, place in enumerate(found)):
            return None
        factors.append(times)
    return tuple(factors)


def _spread(strides: Ints, factors: Ints) -> Ints:
    """The strides of the large image with each dimension as (size, factor)."""
    return (*strides[:2], *(s for step, f in zip(strides[2:], factors) for s in (step * f, step)))


def nearest(places: Places) -> Callable[[Site, Call], None]:
    """Every pixel as a block of itself: one copy, from steps of 0."""

    def lower(site: Site, call: Call) -> None:
        (x,), out = call.inputs, result(site, call)
        factors = whole_factors(call, places, True)
        if factors is None:
            raise Unsupported("resampling by a broken factor")
        shape = (*x.shape[:2], *(n for pair in zip(x.shape[2:], factors) for n in pair))
        source = (*x.strides[:2], *(s for step in x.strides[2:] for s in (step, 0)))
        target = _spread(out.strides, factors)
        copy(site, shape, out.part(0, target), window(site, x).part(0, source), "nearest")

    return lower


def nearest_back(places: Places) -> Callable[[Site, Call], None]:
    """Every block summed, pixel after pixel."""

    def lower(site: Site, call: Call) -> None:
        (g,), out = call.inputs, result(site, call)
        factors = whole_factors(call, places, False)
        if factors is None or math.prod(factors) > MOST_TAPS:
            raise Unsupported("resampling by a broken or very large factor")
        shape, source = call.metas[0].shape, window(site, g)
        wide = out.dtype in (float16, bfloat16)
        total = Window(site.temp(4 * math.prod(shape)), contiguous_strides(shape), float32) if wide else out
        steps = (*g.strides[:2], *(s * f for s, f in zip(g.strides[2:], factors)))
        for nr, taps in enumerate(itertools.product(*map(range, factors))):
            part = source.part(sum(t * s for t, s in zip(taps, g.strides[2:])), steps)
            (add if nr else copy)(site, shape, total, part, "nearest back")
        if wide:
            copy(site, shape, out, total, "nearest back")

    return lower


# -- sliding blocks --------------------------------------------------------------------------------------------


def im2col(site: Site, call: Call) -> None:
    """[N, C, *image] to [N, C * taps, places]."""
    (x,), kernel, window_ = call.inputs, call.params["kernel"], call.params["window"]
    out, source = result(site, call), window(site, x)
    if any(lo or hi for lo, hi in window_.padding):
        fill(site, call.metas[0].shape, out, 0, "im2col")
    places = window_.out_size(x.shape[2:], kernel)
    for image, column, shape in _taps(x.shape, source, out, kernel, places, window_):
        copy(site, shape, column, image, "im2col")


def col2im(site: Site, call: Call) -> None:
    """[N, C * taps, places] to [N, C, *image]: the taps in their order, each added to the pixels it covers."""
    (x,), kernel, window_ = call.inputs, call.params["kernel"], call.params["window"]
    shape, out = call.metas[0].shape, result(site, call)
    wide = out.dtype in (float16, bfloat16)
    image = Window(site.temp(4 * math.prod(shape)), contiguous_strides(shape), float32) if wide else out
    fill(site, shape, image, 0, "col2im")
    places = window_.out_size(call.params["size"], kernel)
    for pixels, column, piece in _taps(shape, image, window(site, x), kernel, places, window_):
        add(site, piece, pixels, column, "col2im")
    if wide:
        copy(site, shape, out, image, "col2im")


def _taps(
    shape: Ints, image: Window, columns: Window, kernel: Ints, places: Ints, window_: Any
) -> Iterator[tuple[Window, Window, Ints]]:
    """For every tap: the window of the image it covers, its rows of the columns, and their common shape."""
    if math.prod(kernel) > MOST_TAPS:
        raise Unsupported("a very large window")
    n, channels, *size = shape
    rows = _split(columns.strides, 1, channels, math.prod(kernel))
    along = _split((columns.strides[2],), 0, *places)
    for nr, tap in enumerate(itertools.product(*map(range, kernel))):
        at, first, count, steps = 0, 0, [], []
        for d, (t, full) in enumerate(zip(tap, places)):
            stride, start = window_.stride[d], t * window_.dilation[d] - window_.padding[d][0]
            low = max(-(start // stride), 0)  # the first place whose pixel exists
            high = min((size[d] - 1 - start) // stride + 1, full)
            at += (start + low * stride) * image.strides[2 + d]
            first += low * along[d]
            count.append(max(high - low, 0))
            steps.append(stride * image.strides[2 + d])
        column = columns.part(first + nr * rows[2], (rows[0], rows[1], *along))
        if 0 not in count:
            yield image.part(at, (*image.strides[:2], *steps)), column, (n, channels, *count)
