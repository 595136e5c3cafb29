"""WHAT: every op, one record each, one file a family. `ops.<name>` is the function that users call `torch.<name>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.ops import (  # noqa: F401
    bins,
    compare,
    complex_views,
    contract,
    copies,
    create,
    cumulative,
    decompose,
    distinct,
    dropouts,
    einstein,
    elementwise,
    extrema,
    factors,
    fourier,
    fused,
    gathering,
    grids,
    index,
    join,
    limits,
    lowrank,
    masking,
    matrices,
    matrix_functions,
    nn,
    norms,
    pieces,
    random,
    random_create,
    reduce,
    shape_ops,
    sorting,
    special,
    special_rare,
    spectrogram,
    statistics,
    systems,
    torch_in_place,
    view_scatter,
    views,
)
from flambeau.ops.op import give_homes, names

give_homes()
globals().update({name: function for name, function in names["torch"].items() if name not in globals()})

if TYPE_CHECKING:  # the functions are collected from the registry

    def __getattr__(name: str) -> Any: ...
