"""What is refused of tensors that share memory: to read what is being written, seen in another way.

Whatever is written here is computed in whole before, so that results would be well defined. PyTorch writes element by
element, refuses what it can see to be wrong, and so do we: a program must not come to depend on the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.shape import is_dense
from flambeau.tensors import Tensor


def refuse_overlap(written: Tensor, operands: Iterable[Any]) -> None:
    """PyTorch's error where an operand shows some of the memory that is written, but not each element where it is.

    As in PyTorch, tensors with gaps or repetitions are not looked into.
    """
    storage = written._storage
    for x in operands:
        if getattr(x, "_storage", None) is storage and x is not written and _partial(written, x):
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
                "memory location. Please clone() the tensor before performing the operation."
            )


def _partial(a: Tensor, b: Tensor) -> bool:
    if not (is_dense(a._shape, a._strides) and is_dense(b._shape, b._strides)):
        return False
    (first, end), (other, its_end) = _range(a), _range(b)
    if (first, end) == (other, its_end):
        return a._strides != b._strides
    return max(first, other) < min(end, its_end)


def _range(t: Tensor) -> tuple[int, int]:
    """The bytes of the storage that a dense tensor shows."""
    first = t._offset * t.dtype.itemsize
    return first, first + t.numel() * t.dtype.itemsize


def each_once(t: Tensor) -> Tensor:
    """A view of an expanded tensor that shows every element once."""
    for dim, (stride, size) in enumerate(zip(t._strides, t._shape)):
        if stride == 0 and size > 1:
            t = t.narrow(dim, 0, 1)
    return t
