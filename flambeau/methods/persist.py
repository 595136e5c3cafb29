"""Printing, pickling and copying: Python's protocols that tensors answer, and their storages."""

from __future__ import annotations

import importlib
from typing import Any

from flambeau import pickling
from flambeau.methods.member import Members
from flambeau.printing import tensor_format, tensor_str
from flambeau.storage import TypedStorage, UntypedStorage
from flambeau.tensors import Tensor

members = Members(
    __repr__=lambda self, *, tensor_contents=None: tensor_str(self, tensor_contents=tensor_contents),
    __format__=tensor_format,
    __reduce_ex__=pickling.reduce_tensor,
    __deepcopy__=pickling.deepcopy_tensor,
)


@members
def share_memory_(self: Tensor) -> Tensor:
    """Move the tensor into memory that processes share; see `flambeau.multiprocessing`."""
    return importlib.import_module("flambeau.multiprocessing.reductions").share_memory_(self)


@members
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory of the tensor as bytes, shared with all its views."""
    return UntypedStorage._of(self._storage)


@members
def storage(self: Tensor) -> TypedStorage:
    """The memory of the tensor as elements of its dtype, shared with all its views."""
    return TypedStorage._of(self._storage, self.dtype)


@members
def _typed_storage(self: Tensor) -> Any:
    return TypedStorage._of(self._storage, self.dtype)
