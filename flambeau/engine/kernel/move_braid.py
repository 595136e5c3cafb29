"""Runs that are laid together element by element: what `stack` along the last dimension writes.

    braid(site, shape, target, sources, "stack")

sets `target[..., i, j] = sources[j][..., i]`: vectors of all sources become as many vectors of the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

from flambeau.engine.kernel.emit import LINE, Emitter, Val, lanes, vector
from flambeau.engine.kernel.move import RAW, Window, large
from flambeau.engine.kernel.move_walk import GRAIN, Walk, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

MANY = 8  # sources


def braid(site: Site, shape: Ints, target: Window, sources: Sequence[Window], note: str) -> bool:
    """Launch the writes, for sources of `shape`; or do nothing and say so, if they are not of this form."""
    many, size = len(sources), target.dtype.itemsize
    dims = merged(shape, (target.strides[:-1], *(s.strides for s in sources)))
    runs = target.strides[-1] == 1 and dims[-1][1] == (many, *[1] * many)
    alike = size in RAW and all(s.dtype is target.dtype for s in sources)
    if 0 in shape or not (runs and alike and 2 <= many <= MANY):
        return False
    walk = Walk(dims, grain=GRAIN // many)
    nbytes = 2.0 * many * math.prod(shape) * size
    site.launch(
        _kernel(walk, many, size, large((*shape, many), target.dtype)),
        (target.address, *(s.address for s in sources), *walk.words), walk.tasks, nbytes / 20, note, (0.0, nbytes),
    )  # fmt: skip
    return True


def _kernel(walk: Walk, many: int, size: int, stream: bool) -> Kernel:
    width, raw = vector_bytes() // size, RAW[size]

    def emit(k: Emitter) -> None:
        with walk.rows(k, 1 + many) as (offsets, [(low, high)], steps):
            out = k.at(k.pointer(0), offsets[0], raw)
            sources = [k.at(k.pointer(1 + nr), offsets[1 + nr], raw) for nr in range(many)]
            whole = k.add(low, k.mul(k.div(k.sub(high, low), width), width))
            past = k.rem(k.address(k.at(out, k.mul(low, many), raw)), LINE) if stream else None
            for streams in (True, False) if stream else (False,):
                with k.when(past.equals(0) if streams else past.differs(0)) if past is not None else nullcontext():
                    with k.loop(whole, low, width) as i:
                        parts = [k.load(source, i, vector(raw, width)) for source in sources]
                        for nr, x in enumerate(braided(k, parts)):
                            k.store(x, out, k.add(k.mul(i, many), nr * width), stream=streams)
            with k.loop(high, whole) as i:
                for nr, source in enumerate(sources):
                    k.store(k.load(source, i, raw), out, k.add(k.mul(i, many), nr))

    return Kernel(f"braid {many} {size} {walk.form} w{width}{' streamed' * stream}", emit)


def braided(k: Emitter, parts: Sequence[Val]) -> list[Val]:
    """Vectors of the elements 0 of all parts, then those of their elements 1 ..."""
    many = len(parts)
    width = lanes(parts[0].type)
    found = []
    for first in range(0, many * width, width):
        x = parts[0]
        for nr, part in enumerate(parts):
            places = range(first, first + width)
            x = k.shuffle(x, part, [width + at // many if at % many == nr else lane for lane, at in enumerate(places)])
        found.append(x)
    return found
