"""Batches on their way between processes: pickles with their large arrays in anonymous shared memory.

On Linux the arrays of one message lie in one nameless memory file, whose descriptor travels over the
worker's socket. Such memory is freed with its last mapping, however a process ends, so nothing can be left
behind. Elsewhere the bytes go through the pipe.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from flambeau.dtypes import by_name
from flambeau.tensors import Tensor, from_array

SHARED_MEMORY = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")
THRESHOLD = 4096  # bytes; below this a copy through the pipe is cheaper than a mapping
_ALIGNMENT = 64


def _memory_of(tensor: Tensor) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the tensor's elements as flat bytes, and the element strides that they are laid out with.

    A tensor without gaps keeps its layout (channels-last, transposed); any other becomes contiguous.
    """
    array = tensor._array()
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    dense = array.transpose(order)
    if not dense.flags.c_contiguous:
        array = dense = np.ascontiguousarray(array).reshape(array.shape)
    strides = tuple(step // array.itemsize for step in array.strides)
    return dense.reshape(-1).view(np.uint8), strides


def _rebuild_tensor(
    memory: np.ndarray, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], requires_grad: bool
) -> Tensor:
    element = by_name(dtype)
    flat = memory.view(element.np)
    steps = tuple(step * element.itemsize for step in strides)
    tensor = from_array(np.lib.stride_tricks.as_strided(flat, shape, steps))
    return tensor.requires_grad_() if requires_grad else tensor


class _BatchPickler(pickle.Pickler):
    """Pickles tensors as raw memory, so that protocol 5 can carry it beside the stream."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not Tensor:
            return NotImplemented
        if obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not "
                "support crossing process boundaries. If you just want to transfer the data, call detach() "
                "on the tensor before serializing (e.g., putting it on the queue)."
            )
        memory, strides = _memory_of(obj)
        return _rebuild_tensor, (memory, obj.dtype.name, obj._shape, strides, obj.requires_grad)


def encode(message: Any) -> tuple[bytes, list[memoryview]]:
    """Pickle `message`; return the stream and the large buffers to be carried beside it."""
    buffers: list[memoryview] = []

    def keep_in_stream(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < THRESHOLD:
            return True
        buffers.append(raw)
        return False

    stream = io.BytesIO()
    _BatchPickler(stream, protocol=5, buffer_callback=keep_in_stream if SHARED_MEMORY else None).dump(message)
    return stream.getvalue(), buffers


def send(connection: Connection, encoded: tuple[bytes, list[memoryview]]) -> None:
    """Send what :func:`encode` returned. Only a few bytes go through the pipe if there is shared memory."""
    stream, buffers = encoded
    if SHARED_MEMORY and len(stream) >= THRESHOLD:
        stream, buffers = b"", [*buffers, memoryview(stream)]
    sizes = [buffer.nbytes for buffer in buffers]
    connection.send((stream, sizes))
    if not sizes:
        return
    descriptor = os.memfd_create("flambeau-batch", os.MFD_CLOEXEC)
    try:
        for buffer, offset in zip(buffers, _offsets(sizes), strict=True):
            while buffer.nbytes:
                written = os.pwrite(descriptor, buffer, offset)
                buffer, offset = buffer[written:], offset + written
        with socket.socket(fileno=os.dup(connection.fileno())) as channel:
            socket.send_fds(channel, [b"\0"], [descriptor])
    finally:
        os.close(descriptor)


Received = tuple[bytes, list[int], int | None]


def read(connection: Connection) -> Received:
    """Take one message off the connection: its stream, the sizes and the descriptor of its large buffers.

    Raises EOFError or OSError where the sender is gone.
    """
    stream, sizes = connection.recv()
    if not sizes:
        return stream, sizes, None
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        raise EOFError
    return stream, sizes, descriptors[0]


def decode(received: Received) -> Any:
    """Rebuild the message; its large arrays are writable views of the shared memory."""
    stream, sizes, descriptor = received
    if descriptor is None:
        return pickle.loads(stream)
    offsets = _offsets(sizes)
    populate = getattr(mmap, "MAP_POPULATE", 0)  # map all pages at once rather than fault them in one by one
    try:
        mapping = mmap.mmap(descriptor, offsets[-1] + sizes[-1], flags=mmap.MAP_SHARED | populate)
    finally:
        os.close(descriptor)
    memory = memoryview(mapping)
    buffers = [memory[start : start + size] for start, size in zip(offsets, sizes, strict=True)]
    if not stream:
        stream = buffers.pop()
    return pickle.loads(stream, buffers=buffers)


def discard(received: Received) -> None:
    """Free a message that nobody will look at."""
    descriptor = received[2]
    if descriptor is not None:
        os.close(descriptor)


def _offsets(sizes: list[int]) -> list[int]:
    """Where each buffer starts in the segment, aligned for vector loads."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets
