"""What a reference may refuse in its operands' data, known before it runs: an index out of range, a zero divisor.

Ops are recorded and run later, but an error is to be raised at the call. So a record whose reference may refuse data
has a `hazard`: if the operands it names are in memory already and do not look harmless, the op runs at its call, and
its reference says what is wrong. Operands that are still pending are found out when they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau.engine.execute import Hazard


def index(position: int, size: Callable[..., int], ignored: str = "", from_end: bool = False) -> Hazard:
    """Entries of the operand at `position` outside 0 ... size(*operands, **params) - 1.

    `ignored` names a parameter: entries equal to it are no indices. Counted `from_end`, -size is an index as well.
    """

    def suspicious(arrays: Sequence[np.ndarray], operands: Sequence[Any], params: dict[str, Any]) -> bool:
        (found,) = arrays
        if not found.size or found.dtype.kind not in "iu":
            return False
        low, high = _extremes(found)
        limit = size(*operands, **params)
        if from_end:
            return bool(low < -limit or high >= limit)
        if ignored and (low < 0 or high >= limit):
            kept = found[found != params[ignored]]
            return bool(kept.size) and not (0 <= kept.min() and kept.max() < limit)
        return bool(low < 0 or high >= limit)

    return Hazard((position,), suspicious)


def _extremes(found: np.ndarray) -> tuple[int, int]:
    """The least and the largest entry; of few entries Python finds them sooner than NumPy does."""
    if found.size > 32:
        return found.min(), found.max()
    entries = found.reshape(-1).tolist()
    return min(entries), max(entries)


def indices(first: int) -> Hazard:
    """Entries of the operands from `first` on, each an index of a dimension of operand 0, outside its size."""

    def suspicious(arrays: Sequence[np.ndarray], operands: Sequence[Any], params: dict[str, Any]) -> bool:
        given = [d for d, x in enumerate(operands[first:]) if x is not None]
        shape = operands[0]._shape
        for d, found in zip(given, arrays):
            if found.size:
                low, high = _extremes(found)
                if low < 0 or high >= shape[d]:
                    return True
        return False

    return Hazard(None, suspicious, first)


def _integer_division(arrays: Sequence[np.ndarray], operands: Sequence[Any], params: dict[str, Any]) -> bool:
    tensors = [x for x in operands if hasattr(x, "_storage")]
    if any(x.dtype.is_floating_point or x.dtype.is_complex for x in tensors) or isinstance(operands[0], float):
        return False
    divisor = arrays[0] if arrays else operands[1]
    return not isinstance(divisor, float) and bool(np.any(np.asarray(divisor) == 0))


division = Hazard((1,), _integer_division)


def _integer_power(arrays: Sequence[np.ndarray], operands: Sequence[Any], params: dict[str, Any]) -> bool:
    base, exponent = operands[0], arrays[0] if arrays else operands[1]
    if hasattr(base, "_storage") and (base.dtype.is_floating_point or base.dtype.is_complex):
        return False
    return not isinstance(exponent, float) and np.ndim(exponent) == 0 and bool(np.all(np.asarray(exponent) < 0))


power = Hazard((1,), _integer_power)


def _outside_unit_interval(arrays: Sequence[np.ndarray], operands: Sequence[Any], params: dict[str, Any]) -> bool:
    (found,) = arrays
    return bool(found.size) and not (0 <= found.min() and found.max() <= 1)


probabilities = Hazard((0,), _outside_unit_interval)
