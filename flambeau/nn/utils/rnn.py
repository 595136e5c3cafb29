"""Sequences of different lengths: packing, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flambeau import ops
from flambeau.dtypes import int64
from flambeau.tensors import Tensor, from_array


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences without padding: all first elements, then all second ones ...; made by `pack_padded_sequence`."""

    __slots__ = ()

    def __new__(
        cls, data: Tensor, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:  # fmt: skip
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data in another dtype or on another device."""
        return type(self)(self.data.to(*args, **kwargs), self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def cpu(self) -> PackedSequence:
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return type(self)(self.data.cuda(), self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    @property
    def is_cuda(self) -> bool:
        return False

    def is_pinned(self) -> bool:
        return False


def _casting(name: str) -> Any:
    def cast(self: PackedSequence) -> PackedSequence:
        return type(self)(getattr(self.data, name)(), self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    cast.__name__, cast.__doc__ = name, f"The data by `Tensor.{name}`."
    return cast


for _name in ("byte", "char", "double", "float", "half", "int", "long", "pin_memory", "short"):
    setattr(PackedSequence, _name, _casting(_name))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    if permutation is None:
        return None
    inverse = np.empty(permutation.numel(), np.int64)
    inverse[permutation._array()] = np.arange(permutation.numel())
    return from_array(inverse)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:  # fmt: skip
    """Pack (T, N, *) padded sequences of the given lengths.

    Raises:
        RuntimeError: lengths out of range, or unsorted with `enforce_sorted`.
    """
    sizes = lengths if isinstance(lengths, Tensor) else ops.as_tensor(lengths, dtype=int64)
    order = None
    if not enforce_sorted:
        order = from_array(np.argsort(-sizes._array(), kind="stable").astype(np.int64))
        sizes = sizes[order]
        input = input.index_select(0 if batch_first else 1, order)
    if batch_first:
        input = input.transpose(0, 1)
    counts = sizes._array()
    if counts.size != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {counts.size} (batch_size={input.shape[1]})"
        )
    if counts.size and counts.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if (np.diff(counts) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
            "you do "
            "not need ONNX exportability."
        )
    if counts[0] > input.shape[0]:
        raise RuntimeError(f"Expected all lengths to be at most {input.shape[0]}, but found {counts[0]}")
    steps, columns = _packed_order(counts)
    data = input.reshape(-1, *input.shape[2:])[from_array(steps * input.shape[1] + columns)]
    batch_sizes = (counts[None, :] > np.arange(counts[0])[:, None]).sum(1).astype(np.int64)
    return PackedSequence(data, from_array(batch_sizes), order)


def _packed_order(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Time step and batch column of every packed element, in packed order."""
    alive = counts[None, :] > np.arange(counts[0])[:, None]
    steps, columns = np.nonzero(alive)
    return steps.astype(np.int64), columns.astype(np.int64)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Unpack into (T, N, *) with padding; also gives the lengths."""
    sizes = sequence.batch_sizes._array()
    longest = len(sizes)
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    batch = int(sizes[0])
    counts = (sizes[:, None] > np.arange(batch)[None, :]).sum(0).astype(np.int64)
    steps, columns = _packed_order(counts)
    data = sequence.data
    rows = (total_length or longest) * batch
    padded = data.new_full((rows, *data.shape[1:]), padding_value)
    padded = padded.index_put((from_array(steps * batch + columns),), data)
    padded = padded.reshape(total_length or longest, batch, *data.shape[1:])
    lengths = from_array(counts)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:  # fmt: skip
    """Stack sequences (L_i, *) as (T, N, *), padded to the longest."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"invalid padding_side: {padding_side}")
    sequences = list(sequences.unbind(0)) if isinstance(sequences, Tensor) else list(sequences)
    if not sequences:
        raise RuntimeError("Expected a non-empty list of Tensors")
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for s in sequences:
        missing = longest - s.shape[0]
        if missing:
            fill = s.new_full((missing, *s.shape[1:]), padding_value)
            s = ops.cat([s, fill] if padding_side == "right" else [fill, s])
        rows.append(s)
    return ops.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(padded_sequences, lengths)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences."""
    lengths = ops.as_tensor([s.shape[0] for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that was packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
