"""Tensors over memory that several processes see, and how such tensors are pickled by `multiprocessing`."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from multiprocessing import reduction
from typing import Any

import numpy as np

from flambeau.dtypes import by_name
from flambeau.engine.value import Storage, Value
from flambeau.nn.parameter import Parameter
from flambeau.shape import Ints
from flambeau.tensors import Tensor, make

__all__ = ["register", "share_memory_", "share_storage"]


class Segment:
    """Nameless shared memory, held by a descriptor. It is freed with its last descriptor and mapping."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        self.descriptor = descriptor
        self.mapping = mmap.mmap(descriptor, max(nbytes, 1))
        self._close = weakref.finalize(self, os.close, descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for all descriptors of one segment, in all processes."""
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino

    def bytes(self, nbytes: int) -> np.ndarray:
        return np.frombuffer(self.mapping, dtype=np.uint8, count=nbytes)


def _new_segment(nbytes: int) -> Segment:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flambeau-tensor", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:  # it has no name any more, or loses it when closed
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, max(nbytes, 1))
    return Segment(descriptor, nbytes)


# The storages of this process that lie in segments: a segment that comes twice is one storage, not two.
_known: weakref.WeakValueDictionary[tuple[int, int], Storage] = weakref.WeakValueDictionary()


def share_storage(storage: Storage) -> Segment:
    """Move a storage into shared memory, if it is not there already. Its tensors follow."""
    if isinstance(storage.keeper, Segment):
        return storage.keeper
    segment = _new_segment(storage.nbytes)
    memory = segment.bytes(storage.nbytes)
    memory[:] = storage.bytes
    storage.value = Value(memory)
    storage.external = True
    storage.keeper = segment
    _known[segment.identity] = storage
    return segment


def share_memory_(self: Tensor) -> Tensor:
    """Move the tensor's storage into shared memory; returns the tensor.

    Processes that are forked afterwards, or that get the tensor through `flambeau.multiprocessing`, read and
    write the same memory. Does nothing where it is shared already.
    """
    share_storage(self._storage)
    return self


def _rebuild_storage(handle: Any, nbytes: int) -> Storage:
    segment = Segment(handle.detach(), nbytes)
    known = _known.get(segment.identity)
    if known is not None:
        return known
    storage = Storage(segment.bytes(nbytes), external=True, keeper=segment)
    _known[segment.identity] = storage
    return storage


def _reduce_storage(storage: Storage) -> tuple:
    segment = share_storage(storage)
    return _rebuild_storage, (reduction.DupFd(segment.descriptor), storage.nbytes)


def _rebuild_tensor(
    storage: Storage, dtype: str, shape: Ints, strides: Ints, offset: int, requires_grad: bool, is_parameter: bool
) -> Tensor:
    tensor = make(storage, shape, strides, offset, by_name(dtype))
    if is_parameter:
        return Parameter(tensor, requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _reduce_tensor(tensor: Tensor) -> tuple:
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries. If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    fields = (tensor._storage, tensor.dtype.name, tensor._shape, tensor._strides, tensor._offset)
    return _rebuild_tensor, (*fields, tensor.requires_grad, isinstance(tensor, Parameter))


def register() -> None:
    """Teach `multiprocessing` to share tensors, where the system can pass descriptors between processes."""
    if os.name == "posix":
        reduction.register(Storage, _reduce_storage)
        reduction.register(Tensor, _reduce_tensor)
        reduction.register(Parameter, _reduce_tensor)
