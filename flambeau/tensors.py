"""Tensor: a strided view of a Storage, with autograd's fields. The bare structure and nothing else.

What a tensor can do is attached by `flambeau.methods`, from the op registry: this file knows no op.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau import dtypes
from flambeau.devices import CPU, device
from flambeau.dtypes import dtype
from flambeau.engine import execute
from flambeau.engine.value import Storage, Version
from flambeau.shape import Ints, Size, contiguous_strides, is_contiguous, sized

if TYPE_CHECKING:
    from flambeau.autograd.node import Node


class TensorMeta(type):
    """The class of Tensor and its subclasses, whose own rules for `isinstance` it lets them add."""


class Tensor(metaclass=TensorMeta):
    """A multi-dimensional array of one dtype, with automatic differentiation.

    `Tensor(2, 3)` makes uninitialised float32 memory and `Tensor([1, 2])` copies data (the legacy spellings);
    prefer `flambeau.tensor`, `zeros`, `randn` ...
    """

    _storage: Storage
    _shape: Ints
    _strides: Ints
    _offset: int
    dtype: dtype
    _version_counter: Version
    _requires_grad: bool = False  # of a leaf; a tensor with a grad_fn requires grad whatever this says
    _grad: Tensor | None = None
    _grad_fn: Node | None = None
    _output_nr: int = 0
    _base: Tensor | None = None  # the tensor this one is a differentiable view of
    _view_ops: tuple = ()  # the (op, params) that lead from `_base` here
    _view_kind: str | None = None  # "multi" or "no_grad": views that in-place ops must refuse
    _history: int = 0  # times in-place ops gave this base a new grad_fn
    _seen_history: int = 0  # the base's `_history` when this view's grad_fn was made
    _accumulator: weakref.ref | None = None
    _hooks: Any = None  # of a leaf: id -> hook
    _post_accumulate_hooks: Any = None
    _retains_grad: bool = False
    _inference: bool = False
    _regenerate: Callable[[Tensor], None] | None = None  # set by ops.apply: makes a stale view's grad_fn anew
    _conj = False
    names = property(lambda self: (None,) * len(self._shape))

    def __deepcopy_fields__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _OWN_FIELDS}

    if TYPE_CHECKING:  # attached by flambeau.methods

        def __getattr__(self, name: str) -> Any: ...
        def _operator(self, other: Any) -> Tensor: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _operator
        __floordiv__ = __mod__ = __pow__ = __rpow__ = __matmul__ = __and__ = __or__ = __xor__ = _operator
        __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _operator
        __eq__ = __ne__ = _operator  # type: ignore[assignment]

        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Any: ...
        def __bool__(self) -> bool: ...
        def __float__(self) -> float: ...
        def __index__(self) -> int: ...

    # -- structure ---------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return sized(self._shape)

    @shape.setter
    def shape(self, value: Any) -> None:
        raise AttributeError("attribute 'shape' of 'torch._C.TensorBase' objects is not writable")

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def device(self) -> device:
        return CPU

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def output_nr(self) -> int:
        return self._output_nr

    @property
    def _version(self) -> int:
        return self._version_counter.count

    def is_full_storage(self) -> bool:
        """Whether the tensor shows its whole storage in order."""
        return (
            self._offset == 0
            and is_contiguous(self._shape, self._strides)
            and self._storage.nbytes == self.numel() * self.dtype.itemsize
        )

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for size in self._shape:
            n *= size
        return n

    def _array(self) -> np.ndarray:
        """The tensor's memory as an ndarray, whatever its autograd state; to be read only."""
        return execute.read(self)

    # -- autograd ----------------------------------------------------------------------------------------------

    @property
    def grad_fn(self) -> Node | None:
        base = self._base
        if base is not None and self._seen_history != base._history:
            Tensor._regenerate(self)  # type: ignore[misc]
        return self._grad_fn

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad or self.grad_fn is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.grad_fn is not None:
            if value:
                return
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
                "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and self.dtype.category < dtypes.FLOAT:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        self._requires_grad = bool(value)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` accumulated, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._shape != self._shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: expected {list(self._shape)}, got "
                    f"{list(value._shape)}"
                )
            if value.dtype is not self.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: expected {self.dtype}, got {value.dtype}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def data(self) -> Tensor:
        """The same memory without history; writes through it are invisible to autograd."""
        return make(self._storage, self._shape, self._strides, self._offset, self.dtype)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        counter = self._version_counter
        if counter is self._storage and sys.getrefcount(counter) == _HELD_BY_ONE_TENSOR:  # else others count with it
            self._version_counter = Version()
            self._version_counter.count, self._version_counter.where = counter.count, counter.where
        self._storage, self.dtype = value._storage, value.dtype
        self._shape, self._strides, self._offset = value._shape, value._strides, value._offset

    @property
    def retains_grad(self) -> bool:
        return self._retains_grad


_HELD_BY_ONE_TENSOR = 4  # by two of its fields; the name there and getrefcount's argument

_OWN_FIELDS = frozenset(Tensor.__annotations__) | {"_conj"}


def make(
    storage: Storage, shape: Ints, strides: Ints, offset: int, dtype: dtype, version: Version | None = None,
    cls: type[Tensor] = Tensor,
) -> Tensor:  # fmt: skip
    """A tensor over `storage`; it shares `version` with those it aliases. A new storage may be its own counter."""
    self = object.__new__(cls)
    self._storage = storage
    self._shape = shape
    self._strides = strides
    self._offset = offset
    self.dtype = dtype
    self._version_counter = Version() if version is None else version
    self._requires_grad, self._grad_fn, self._base = False, None, None
    return self


def detached(t: Tensor) -> Tensor:
    """The same memory and version counter without history: `Tensor.detach`."""
    return make(t._storage, t._shape, t._strides, t._offset, t.dtype, t._version_counter)


def fresh(storage: Storage, shape: Ints, dtype: dtype, strides: Ints | None = None) -> Tensor:
    """A tensor that shows all of a new storage."""
    return make(storage, shape, contiguous_strides(shape) if strides is None else strides, 0, dtype, storage)


def from_array(array: np.ndarray, external: bool = False) -> Tensor:
    """A tensor over the memory of `array`, or over a copy where its layout has no tensor form."""
    d = dtypes.of(array.dtype)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    size = d.itemsize
    if any(s < 0 or s % size for s in array.strides) or not _covers(array):
        array = np.array(array, order="C")
    if array.flags.c_contiguous:
        return fresh(Storage(array.reshape(-1).view(np.uint8), external), array.shape, d)
    strides = tuple([s // size for s in array.strides])
    span = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides)) if array.size else 0
    flat = np.lib.stride_tricks.as_strided(array, (span,), (size,), writeable=array.flags.writeable)
    return fresh(Storage(flat.view(np.uint8), external), array.shape, d, strides)


def _covers(array: np.ndarray) -> bool:
    return array.flags.aligned


def write_array(t: Tensor, array: Any) -> None:
    """Overwrite a tensor's elements from `array` (cast and broadcast), outside autograd; counts as a write."""
    execute.write(t, array)
    t._version_counter.bump()


def assign_into(t: Tensor, result: Tensor) -> None:
    """Overwrite a tensor with another of its shape, outside autograd and recorded like an op; counts as a write.

    `result` must be nobody else's: its memory may become that of `t`.
    """
    execute.assign(t, result, 0)
    version = t._version_counter
    version.count += 1
    version.where = None
