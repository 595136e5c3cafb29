"""Shapes and strides: broadcasting, dimension wrapping, view geometry. Imports nothing from the house.

Strides count elements, as PyTorch's do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

Ints = tuple[int, ...]


class Size(tuple):
    """A tensor's shape: a tuple of ints that prints as `torch.Size([2, 3])`."""

    __slots__ = ()

    def __new__(cls, iterable: Iterable[Any] = ()) -> Size:
        return super().__new__(cls, [int(n) if not isinstance(n, int) else n for n in iterable])

    def numel(self) -> int:
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


@lru_cache(8192)
def sized(shape: Ints) -> Size:
    """A tensor's tuple of sizes as users see it."""
    return Size(shape)


def contiguous_strides(shape: Sequence[int]) -> Ints:
    """Row-major strides of a fresh tensor.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    return _contiguous_strides(tuple(shape))


@lru_cache(8192)
def _contiguous_strides(shape: Ints) -> Ints:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n if n > 1 else 1
    return tuple(reversed(strides))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    if 0 in shape:
        return True
    step = 1
    for n, s in zip(reversed(shape), reversed(strides)):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


def channels_last_strides(shape: Sequence[int]) -> Ints:
    """Strides of a 4-d (or 5-d) tensor whose channels lie innermost."""
    order = [0, *range(2, len(shape)), 1]
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def is_channels_last(shape: Sequence[int], strides: Sequence[int]) -> bool:
    if len(shape) not in (4, 5):
        return False
    step = 1
    for d in [1, *range(len(shape) - 1, 1, -1), 0]:
        if shape[d] != 1:
            if strides[d] != step:
                return False
            step *= shape[d]
    return True


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether some permutation of the dimensions is contiguous: no overlap, no gaps."""
    step = 1
    for s, n in sorted((s, n) for s, n in zip(strides, shape) if n != 1):
        if s != step:
            return False
        step *= n
    return True


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements of memory that a strided view spans from its offset on."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides))


def broadcast_shapes(*shapes: Sequence[int]) -> Ints:
    """The shape that all of `shapes` broadcast to, or PyTorch's RuntimeError."""
    result: list[int] = []
    for shape in shapes:
        if len(shape) > len(result):
            result = [1] * (len(shape) - len(result)) + result
        shift = len(result) - len(shape)
        for i, n in enumerate(shape):
            have = result[shift + i]
            if have == 1:
                result[shift + i] = n
            elif n != 1 and n != have:
                raise RuntimeError(
                    f"The size of tensor a ({have}) must match the size of tensor b ({n}) "
                    f"at non-singleton dimension {shift + i}"
                )
    return tuple(result)


def expand_strides(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Ints:
    """Strides that show `shape` as the (broadcast-compatible) shape `to`: 0 where a dimension repeats."""
    lead = len(to) - len(shape)
    kept = tuple(0 if n == 1 and want != 1 else s for n, s, want in zip(shape, strides, to[lead:]))
    return (0,) * lead + kept


def elementwise_strides(
    shape: Ints, operands: Sequence[tuple[Sequence[int], Sequence[int]]], with_numbers: bool = False
) -> Ints:
    """Strides PyTorch gives an elementwise result of operands (shape, strides), and of numbers if there are any.

    Operands of one shape and one dense order pass it on; else dimensions are sorted by the operands' strides.
    """
    canonical = contiguous_strides(shape)
    if all(tuple(s) == shape for s, _ in operands) and not with_numbers:
        strides = [s for _, s in operands]
        if all(is_contiguous(shape, s) for s in strides):
            return canonical
        if all(is_channels_last(shape, s) for s in strides):
            return channels_last_strides(shape)
        if len(set(strides)) == 1 and is_dense(shape, strides[0]):
            return tuple(strides[0])
    elif 1 not in shape and operands and tuple(operands[0][0]) == shape and tuple(operands[0][1]) == canonical:
        return canonical
    return _strides_in_order(shape, _operand_order(shape, [expand_strides(s, st, shape) for s, st in operands]))


def _operand_order(shape: Ints, expanded: Sequence[Ints]) -> list[int]:
    """Dimensions from innermost to outermost, as TensorIterator sorts them: earlier operands decide."""
    order = list(range(len(shape)))[::-1]

    def should_swap(d0: int, d1: int) -> int:
        for strides in expanded:
            s0, s1 = strides[d0], strides[d1]
            if s0 == 0 or s1 == 0:
                continue
            if s0 != s1:
                return -1 if s0 < s1 else 1
            if shape[d0] > shape[d1]:
                return 1
        return 0

    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            swap = should_swap(order[j], order[at])
            if swap > 0:
                order[j], order[at] = order[at], order[j]
                at = j
            elif swap < 0:
                break
    return order


def _strides_in_order(shape: Ints, order: Sequence[int]) -> Ints:
    strides, step = [0] * len(shape), 1
    for d in order:
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


@lru_cache(8192)
def preserved_strides(shape: Ints, strides: Ints) -> Ints:
    """Strides of a copy that keeps the memory format: the same order of dimensions, without gaps or overlap."""
    if is_dense(shape, strides):
        return tuple(strides)
    return _strides_in_order(shape, _operand_order(shape, [strides]))


def wrap_dim(dim: int, ndim: int) -> int:
    """A dimension index in 0..ndim-1; PyTorch's IndexError outside the range (a 0-d tensor counts as 1-d)."""
    if type(dim) is not int and (isinstance(dim, bool) or not hasattr(dim, "__index__")):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})")
    return dim.__index__() % span


def wrap_dims(dims: int | Sequence[int] | None, ndim: int) -> Ints:
    """Dimensions as a sorted tuple without repeats; None and () mean all of them."""
    if dims is None:
        return tuple(range(ndim))
    if isinstance(dims, int):
        return (wrap_dim(dims, ndim),) if ndim else (wrap_dim(dims, 0),)[:0]
    if len(dims) == 0:
        return tuple(range(ndim))
    wrapped = [wrap_dim(d, ndim) for d in dims]
    for d in wrapped:
        if wrapped.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return tuple(sorted(wrapped)) if ndim else ()


def reduced_shape(shape: Sequence[int], dims: Sequence[int], keepdim: bool) -> Ints:
    if keepdim:
        return tuple(1 if d in dims else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in dims)


def infer_shape(wanted: Sequence[int], numel: int) -> Ints:
    """`wanted` with its one -1 filled in, checked against the number of elements."""
    known, free = 1, None
    for i, n in enumerate(wanted):
        if n == -1:
            if free is not None:
                raise RuntimeError("only one dimension can be inferred")
            free = i
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape [{', '.join(map(str, wanted))}]")
        else:
            known *= n
    shown = f"[{', '.join(map(str, wanted))}]"
    if free is None:
        if known != numel:
            raise RuntimeError(f"shape '{shown}' is invalid for input of size {numel}")
        return tuple(wanted)
    if known == 0:
        if numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {shown} because the unspecified dimension size -1 "
                "can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{shown}' is invalid for input of size {numel}")
    if numel % known:
        raise RuntimeError(f"shape '{shown}' is invalid for input of size {numel}")
    return tuple(numel // known if i == free else n for i, n in enumerate(wanted))


def view_strides(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Ints | None:
    """Strides that show memory laid out as (shape, strides) in the shape `to`, or None if a copy is needed."""
    if prod(shape) == 0:
        return tuple(strides) if tuple(shape) == tuple(to) else contiguous_strides(to)
    result = [0] * len(to)
    at = len(to) - 1
    chunk_stride = strides[-1] if strides else 1
    in_tensor = in_view = 1
    for d in range(len(shape) - 1, -1, -1):
        in_tensor *= shape[d]
        if d == 0 or (shape[d - 1] != 1 and strides[d - 1] != in_tensor * chunk_stride):
            while at >= 0 and (in_view < in_tensor or to[at] == 1):
                result[at] = in_view * chunk_stride
                in_view *= to[at]
                at -= 1
            if in_view != in_tensor:
                return None
            if d > 0:
                chunk_stride = strides[d - 1]
                in_tensor = in_view = 1
    if not shape:
        return (1,) * len(to)
    return tuple(result) if at == -1 else None


def shape_args(args: tuple) -> tuple:
    """`f(2, 3)`, `f((2, 3))`, `f([2, 3])` and `f(Size)` alike as a tuple of ints."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    for n in args:
        if type(n) is not int:
            return tuple([_as_int(n) for n in args])
    return args


def _as_int(n: Any) -> int:
    if isinstance(n, float) or not hasattr(n, "__index__"):
        raise TypeError(f"expected an int as a dimension, got {type(n).__name__}")
    return n.__index__()
