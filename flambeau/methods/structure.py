"""Questions about a tensor's shape, strides, memory and type."""

from __future__ import annotations

from math import prod
from typing import Any, NoReturn

from flambeau import shape as shapes
from flambeau.errors import NotSupportedError, warn_once
from flambeau.methods.member import Members
from flambeau.ops import complex_views, views
from flambeau.ops.apply import resize as resize_in_place
from flambeau.shape import contiguous_strides, is_channels_last, shape_args, sized, wrap_dim
from flambeau.tensors import Tensor

members = Members()


@members
def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    if dim is None:
        return sized(self._shape)
    index = wrap_dim(dim, self.ndim)
    if not self._shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return self._shape[index]


@members
def dim(self: Tensor) -> int:
    """The number of dimensions."""
    return len(self._shape)


@members
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Steps in memory, in elements: of every dimension, or of one."""
    return self._strides if dim is None else self._strides[wrap_dim(dim, self.ndim)]


@members
def storage_offset(self: Tensor) -> int:
    """Elements before the first one in the storage."""
    return self._offset


@members
def element_size(self: Tensor) -> int:
    """Bytes of one element."""
    return self.dtype.itemsize


members["ndimension"] = dim
members["nelement"] = Tensor.numel


@members
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether memory is in row-major (or channels-last) order without gaps."""
    form = getattr(memory_format, "name", memory_format)
    if form in ("channels_last", "channels_last_3d"):
        return is_channels_last(self._shape, self._strides)
    return shapes.is_contiguous(self._shape, self._strides)


@members
def data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    return self._storage.data_ptr() + self._offset * self.dtype.itemsize if self.numel() else 0


@members
def get_device(self: Tensor) -> int:
    """-1: the CPU has no ordinal."""
    return -1


@members
def is_floating_point(self: Tensor) -> bool:
    return self.dtype.is_floating_point


@members
def is_complex(self: Tensor) -> bool:
    return self.dtype.is_complex


@members
def is_signed(self: Tensor) -> bool:
    return self.dtype.is_signed


@members
def is_conj(self: Tensor) -> bool:
    return False


@members
def is_neg(self: Tensor) -> bool:
    return False


@members
def is_inference(self: Tensor) -> bool:
    return self._inference


@members
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same view of the same storage."""
    same = (self._shape, self._strides, self._offset) == (tensor._shape, tensor._strides, tensor._offset)
    return same and self._storage is tensor._storage


@members
def is_same_size(self: Tensor, other: Tensor) -> bool:
    return self._shape == other._shape


@members
def _is_view(self: Tensor) -> bool:
    return self._base is not None


@members
def dim_order(self: Tensor) -> tuple[int, ...]:
    """Dimensions from the outermost in memory to the innermost."""
    return tuple(sorted(range(self.ndim), key=lambda d: (-self._strides[d], d)))


for _flag in (
    "is_cuda",
    "is_sparse",
    "is_quantized",
    "is_meta",
    "is_mps",
    "is_mkldnn",
    "is_nested",
    "is_xpu",
    "is_sparse_csr",
):
    members[_flag] = property(lambda self: False)
members["is_cpu"] = property(lambda self: True)
members["itemsize"] = property(lambda self: self.dtype.itemsize)
members["nbytes"] = property(lambda self: self.numel() * self.dtype.itemsize)
members["name"] = None
members["layout"] = property(lambda self: strided)


class _Named:
    """A constant that prints as `torch.<name>` and is pickled by that name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class Layout(_Named):
    """How a tensor's elements are kept: `torch.strided` is the one there is."""


class MemoryFormat(_Named):
    """An order of dimensions in memory: `torch.channels_last` ..."""


strided, sparse_coo, sparse_csr = Layout("strided"), Layout("sparse_coo"), Layout("sparse_csr")
contiguous_format = MemoryFormat("contiguous_format")
preserve_format = MemoryFormat("preserve_format")
channels_last = MemoryFormat("channels_last")
channels_last_3d = MemoryFormat("channels_last_3d")

# -- sparse spellings of a dense tensor -----------------------------------------------------------------------


def _sparse_only(name: str, layout: str) -> None:
    def method(self: Tensor) -> NoReturn:
        raise RuntimeError(f"{name} expected sparse {layout} layout but got Strided")

    method.__name__, method.__doc__ = name, f"Raises: `{name}` is of sparse tensors, and tensors are strided."
    members[name] = method


_sparse_only("values", "tensor")
for _name in ("indices", "coalesce", "is_coalesced"):
    _sparse_only(_name, "coordinate tensor")


@members
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor itself: it is dense."""
    return self if dtype is None else self.to(dtype)


@members
def to_sparse(self: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
    """Sparse tensors are not built."""
    raise NotSupportedError("sparse tensors are not in this release of Flambeau (see docs/differences.md)")


@members
def index(self: Tensor, positions: Any, dims: Any) -> NoReturn:
    """First-class dimensions are not built."""
    raise NotSupportedError(
        "Tensor.index binds first-class dimensions, which are not in this release of Flambeau: write tensor[index]"
    )


members["dense_dim"], members["sparse_dim"] = dim, lambda self: 0

# -- transposed readings ---------------------------------------------------------------------------------------


@members.property
def T(self: Tensor) -> Tensor:
    """All dimensions reversed."""
    return views.permute(self, tuple(reversed(range(self.ndim))))


@members.property
def mT(self: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return views.transpose(self, -2, -1)


@members.property
def H(self: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    if self.ndim != 2:
        hint = " For batches of matrices, consider using tensor.mH" if self.ndim > 2 else ""
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.{hint}")
    return views.adjoint(self)


members["mH"] = property(views.adjoint)
members["real"] = property(complex_views.real, lambda self, value: complex_views.real(self).copy_(value))
members["imag"] = property(complex_views.imag, lambda self, value: complex_views.imag(self).copy_(value))

# -- changing structure in place -------------------------------------------------------------------------------


@members
def resize_(self: Tensor, *shape: Any, memory_format: Any = None) -> Tensor:
    """Another shape in place; new elements are uninitialised."""
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    resize_in_place(self, shape_args(shape))
    return self


@members
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """The deprecated form of `view`, for the same number of elements."""
    warn_once("non-inplace resize is deprecated", FutureWarning)
    shape = shape_args(sizes)
    if prod(shape) != self.numel():
        raise RuntimeError(
            f"requested resize to {'x'.join(map(str, shape))} ({prod(shape)} elements in total), but the given tensor "
            f"has a size of {'x'.join(map(str, self._shape))} ({self.numel()} elements). autograd's resize can only "
            "change the shape of a given tensor, while preserving the number of elements. "
        )
    return self.contiguous().view(shape)


@members
def resize_as_(self: Tensor, other: Tensor) -> Tensor:
    return resize_(self, other._shape)


@members
def set_(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
    """Show the memory of another tensor or storage."""
    if source is None:
        resize_in_place(self, (0,))
        return self
    if isinstance(source, Tensor) and size is None:
        self.data = source
        return self
    storage = source._storage if isinstance(source, Tensor) else getattr(source, "_storage", source)
    count = storage.nbytes // self.dtype.itemsize
    self._storage, self._offset = storage, storage_offset
    self._shape = tuple(size) if size is not None else (count - storage_offset,)
    self._strides = tuple(stride) if stride is not None else contiguous_strides(self._shape)
    return self


def _reshaping_in_place(name: str) -> None:
    function = getattr(views, name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen = function(self, *args, **kwargs)
        self._shape, self._strides, self._offset = seen._shape, seen._strides, seen._offset
        if seen._grad_fn is not None:
            self._grad_fn = seen._grad_fn
        return self

    method.__doc__ = f"`{name}` of this tensor itself."
    members[name + "_"] = method


for _name in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims", "as_strided"):
    if hasattr(views, _name):
        _reshaping_in_place(_name)
