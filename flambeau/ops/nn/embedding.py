"""Tables of vectors: embedding, bags of embeddings, one-hot vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd.mode import no_grad
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.errors import warn_once
from flambeau.later import later
from flambeau.ops import hazards
from flambeau.ops.accumulate import add_rows
from flambeau.ops.apply import type_name
from flambeau.ops.nn.checks import as_int
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.tensors import Tensor, from_array, write_array

gather_ops = later("flambeau.engine.kernel.gather_ops")

# -- embedding -------------------------------------------------------------------------------------------------


def _looked_up(weight: np.ndarray, index: np.ndarray, **_: Any) -> np.ndarray:
    if index.size and not (0 <= index.min() and index.max() < weight.shape[0]):
        raise IndexError("index out of range in self")
    return np.take(weight, index, 0)


def _embedding_meta(weight: Tensor, index: Tensor, **_: Any) -> Meta:
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{type_name(index.dtype)}Tensor instead (while checking arguments for embedding)"
        )
    return Meta((*index._shape, weight._shape[1]), weight.dtype)


def _table_gradient(g: np.ndarray, index: np.ndarray, rows: int, padding_idx: int, by_frequency: bool) -> np.ndarray:
    out = np.zeros((rows, g.shape[-1]), g.dtype)
    at, values = index.reshape(-1), g.reshape(-1, g.shape[-1])
    if padding_idx >= 0:
        kept = at != padding_idx
        if not kept.all():
            at, values = at[kept], values[kept]
    if by_frequency:
        values = values / np.bincount(at, minlength=rows)[at][:, None].astype(g.dtype)
    add_rows(out, at, values)
    return out


def _rows_for(h: Tensor, index: Tensor, padding_idx: int, by_frequency: bool) -> Tensor:
    """The transpose of `_table_gradient`."""
    rows = embedding_op(h, index, padding_idx=padding_idx, by_frequency=by_frequency)
    if padding_idx >= 0:
        rows = rows.masked_fill((index == padding_idx).unsqueeze(-1), 0)
    if by_frequency:
        places = index._array()
        counts = np.bincount(places.reshape(-1), minlength=h._shape[0])[places]
        rows = rows / from_array(counts.astype(h.dtype.np)).unsqueeze(-1)
    return rows


embedding_op = op(
    "embedding", picks=True, hazard=hazards.index(1, lambda weight, *_, **__: weight._shape[0]), ref=_looked_up,
    meta=_embedding_meta, lower=Kernels(gather_ops.embedding),
    vjp=(
        lambda g, _y, _weight, index, **how: embedding_backward_op(g, index, rows=_weight.shape[0], **how),
        None,
    ),
    samples=lambda t: [
        call(t(5, 3), t(2, 4, dtype=dtypes.int64, low=0, high=5), padding_idx=-1, by_frequency=False),
        call(t(5, 3), t(6, dtype=dtypes.int64, low=0, high=5), padding_idx=2, by_frequency=True),
    ],
    smooth=False,  # the row at padding_idx has a value but, by definition, no gradient
)  # fmt: skip
embedding_backward_op = op(
    "embedding_dense_backward", ref=_table_gradient, lower=Kernels(gather_ops.embedding_backward),
    meta=lambda g, index, rows, **_: Meta((rows, g._shape[-1]), g.dtype),
    vjp=(lambda h, _y, _g, index, rows, **how: _rows_for(h, index, **how), None),
    samples=lambda t: [
        call(t(6, 3), t(6, dtype=dtypes.int64, low=0, high=5), rows=5, padding_idx=row, by_frequency=by_frequency)
        for row, by_frequency in ((-1, False), (2, True))
    ],
)  # fmt: skip


def _renormalise(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Shorten, in place, the rows that are looked up and longer than `max_norm`."""
    table = weight._array()
    rows = np.unique(index._array())
    if rows.size and not (0 <= rows[0] and rows[-1] < table.shape[0]):
        raise IndexError("index out of range in self")
    chosen = table[rows]
    length = np.linalg.norm(chosen.astype(np.float64), norm_type, axis=1)
    factor = np.where(length > max_norm, max_norm / (length + 1e-7), 1.0)
    changed = table.copy()
    changed[rows] = (chosen * factor[:, None]).astype(table.dtype)
    write_array(weight, changed)


def _dense_only(sparse: bool) -> None:
    if sparse:
        warn_once("sparse=True: this release has no sparse tensors, gradients of embeddings are dense.")


@public("F")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:  # fmt: skip
    """Rows of `weight` [num, dim] at the indices `input` [...], as [..., dim].

    Args:
        padding_idx: a row that gets no gradient.
        max_norm: rows that are longer are shortened to it, in place.
        scale_grad_by_freq: divide gradients by how often the row occurs in `input`.

    Raises:
        IndexError: an index outside the table.

    >>> embedding(tensor([1, 0]), tensor([[0.0, 1.0], [2.0, 3.0]]))
    tensor([[2., 3.],
            [0., 1.]])
    """
    require_tensor("embedding", "indices", 2, input)
    require_tensor("embedding", "weight", 1, weight)
    if padding_idx is not None:
        if not -weight._shape[0] <= padding_idx < weight._shape[0]:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= weight._shape[0]
    if max_norm is not None:
        with no_grad():
            _renormalise(weight, input, max_norm, norm_type)
    return _torch_embedding(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq, sparse)


@public("torch", name="embedding", one_op=True)
def _torch_embedding(weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
                     sparse: bool = False) -> Tensor:  # fmt: skip
    _dense_only(sparse)
    return embedding_op(weight, indices, padding_idx=padding_idx, by_frequency=scale_grad_by_freq)


# -- bags ------------------------------------------------------------------------------------------------------


def _bag_starts(input: Tensor, offsets: Tensor | None, include_last: bool) -> np.ndarray:
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        rows, length = input._shape
        return np.arange(0, rows * length + 1, length) if length else np.zeros(rows + 1, np.int64)
    if input.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    starts, n = offsets._array(), input._shape[0]
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, "
            f"got {int(starts[0])}"
        )
    if starts.size and starts[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {n} but got offsets[-1] of {int(starts[-1])}"
        )
    return starts if include_last else np.append(starts, n)


@public("F")
def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of the embeddings in each bag.

    Args:
        input: indices [B, L] (bags of equal length), or [N] with `offsets` [B], where bags start.
        weight: the table [num, dim].
        per_sample_weights: a factor for each index ("sum" only).
        include_last_offset: `offsets` also has the end of the last bag.
        padding_idx: an index that is left out of its bag.
    """
    if per_sample_weights is not None and input._shape != per_sample_weights._shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    starts = _bag_starts(input, offsets, include_last_offset)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if max_norm is not None:
        with no_grad():
            _renormalise(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). Please open a feature request on GitHub."
        )
    flat = input.reshape(-1)
    bag = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if padding_idx is not None:
        kept = np.flatnonzero(flat._array() != padding_idx % weight._shape[0])
        flat, bag = flat[from_array(kept)], bag[kept]
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)[from_array(kept)]
    rows = _torch_embedding(weight, flat, -1, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    return _bagged(rows, bag, len(starts) - 1, mode)


def _bagged(rows: Tensor, bag: np.ndarray, count: int, mode: str) -> Tensor:
    empty = rows.new_zeros((count, rows._shape[1]))
    if mode == "max":
        where = from_array(bag).unsqueeze(1).expand(rows._shape)
        return empty.scatter_reduce(0, where, rows, "amax", include_self=False)
    total = empty.index_add(0, from_array(bag), rows)
    if mode == "sum":
        return total
    sizes = np.maximum(np.bincount(bag, minlength=count), 1).astype(rows.dtype.np)
    return total / from_array(sizes).unsqueeze(1)


# -- one-hot ---------------------------------------------------------------------------------------------------


@public("F")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices [...] as vectors [..., num_classes] of zeros with a one at the index (int64).

    >>> one_hot(tensor([1, 0]))
    tensor([[0, 1],
            [1, 0]])
    """
    require_tensor("one_hot", "input", 1, tensor)
    num_classes = as_int("one_hot", "num_classes", 2, num_classes)
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    index = tensor._array()
    if not index.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return from_array(np.zeros((*index.shape, num_classes), np.int64))
    if index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(index.max()) + 1
    elif num_classes <= index.max():
        raise RuntimeError("Class values must be smaller than num_classes.")
    out = np.zeros((*index.shape, num_classes), np.int64)
    np.put_along_axis(out, index[..., None], 1, -1)
    return from_array(out)
