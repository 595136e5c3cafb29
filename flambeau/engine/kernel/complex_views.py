"""Lowerings of complex numbers as pairs of real ones, and back, where a copy is wanted: the same memory, copied."""

from __future__ import annotations

from flambeau.engine.graph import Call
from flambeau.engine.kernel.move import Window, copy, result, window
from flambeau.engine.schedule.lowering import Site


def parts(complex_numbers: Window) -> Window:
    """The real and the imaginary parts, along a new last dimension."""
    real = complex_numbers.real()
    return real._replace(strides=(*real.strides, 1))


def as_real(site: Site, call: Call) -> None:
    copy(site, call.metas[0].shape, result(site, call), parts(window(site, call.inputs[0])), call.op.name)


def as_complex(site: Site, call: Call) -> None:
    source = call.inputs[0]
    copy(site, source.shape, parts(result(site, call)), window(site, source), call.op.name)
