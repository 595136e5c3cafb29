"""WHAT: every op, one record each, one file a family. `ops.<name>` is the function that users call `torch.<name>`."""

from __future__ import annotations

from typing import Any

from flambeau.ops import (  # noqa: F401
    bins,
    compare,
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


def __getattr__(name: str) -> Any:
    found = names["torch"].get(name)
    if found is None:
        raise AttributeError(f"module 'flambeau.ops' has no attribute {name!r}")
    return found
