"""A tensor in pieces: `split`, `chunk`, `unbind` and their kin. The pieces are views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.ops.op import Op, public
from flambeau.ops.samples import call
from flambeau.ops.views import dropping, select_layout, slice_dim, slice_layout, slice_op
from flambeau.shape import wrap_dim
from flambeau.tensors import Tensor

_split_part = dropping("split", slice_layout, multi_view=True,
                        samples=lambda t: [call(t(4, 3), dim=0, start=1, length=2, step=1)])  # fmt: skip
_sized_part = dropping(
    "split_with_sizes", slice_layout, multi_view=True,
    samples=lambda t: [call(t(4, 3), dim=0, start=1, length=2, step=1)],
)  # fmt: skip
_unbind_part = dropping("unbind", select_layout, multi_view=True, samples=lambda t: [call(t(4, 3), dim=1, index=2)])


@public("torch Tensor")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices along `dim`, as views without it."""
    if not input._shape:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, input.ndim)
    return tuple(_unbind_part(input, dim=dim, index=i) for i in range(input._shape[dim]))


@public("torch Tensor")
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive pieces of `dim`: of one size (the last may be smaller), or of the listed sizes. Views."""
    if not tensor._shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, tensor.ndim)
    n = tensor._shape[dim]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = [int(s) for s in split_size_or_sections]
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), "
                f"but got split_sizes={sizes}"
            )
        return _pieces(tensor, sizes, dim, _sized_part)
    else:
        size = int(split_size_or_sections)
        if size < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0 and n:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        sizes = [min(size, n - start) for start in range(0, n, size)] if n else [0]
    return _pieces(tensor, sizes, dim)


def _pieces(tensor: Tensor, sizes: Sequence[int], dim: int, part: Op = _split_part) -> tuple[Tensor, ...]:
    parts, start = [], 0
    for size in sizes:
        parts.append(part(tensor, dim=dim, start=start, length=size, step=1))
        start += size
    return tuple(parts)


@public("torch Tensor")
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """`split` by a list of sizes."""
    return split(input, list(split_sizes), dim)


@public("torch Tensor")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size (the last may be smaller). Views."""
    if not input._shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, input.ndim)
    n = input._shape[dim]
    size = -(-n // chunks)
    return _pieces(input, [0] * chunks, dim) if size == 0 else split(input, size, dim)


@public("torch Tensor")
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces as `numpy.array_split` makes them: by count (the first are larger) or at indices."""
    dim = wrap_dim(dim, input.ndim)
    n = input._shape[dim]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        if indices_or_sections <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {indices_or_sections}")
        base, more = divmod(n, indices_or_sections)
        return _pieces(input, [base + (i < more) for i in range(indices_or_sections)], dim, slice_op)
    edges = [0, *indices_or_sections, None]
    return tuple(slice_dim(input, dim, a, b) for a, b in zip(edges, edges[1:]))


def _nd_split(name: str, axis: int, least: int) -> None:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension, but got {input.ndim}")
        return tensor_split(input, indices_or_sections, 0 if input.ndim == 1 else axis)

    function.__doc__ = f"`tensor_split` along dimension {axis}."
    public("torch Tensor", name=name)(function)


_nd_split("hsplit", 1, 1)
_nd_split("vsplit", 0, 2)
_nd_split("dsplit", 2, 3)
