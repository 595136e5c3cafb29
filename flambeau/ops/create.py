"""Making tensors: from data, filled, by ranges, and like other tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd.node import next_sequence
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.engine import execute
from flambeau.engine.runtime.allocator import LARGE
from flambeau.engine.schedule.lowering import Composite
from flambeau.engine.value import Storage, empty_bytes, holding, pooled
from flambeau.errors import warn_once
from flambeau.ops.apply import assign, check_writable
from flambeau.ops.copies import cast, clone, memory_format_strides
from flambeau.ops.op import op, public
from flambeau.ops.overlap import each_once
from flambeau.shape import Ints, shape_args
from flambeau.tensors import Tensor, detached, fresh, from_array


def finish(t: Tensor, requires_grad: bool) -> Tensor:
    """Set the flag on a new leaf."""
    if requires_grad:
        t.requires_grad = True
    return t


# -- from data -------------------------------------------------------------------------------------------------


@public("torch")
def tensor(data: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A new tensor holding a copy of `data`: numbers, nested sequences, arrays or tensors.

    >>> tensor([[1, 2], [3, 4]]).shape
    torch.Size([2, 2])
    """
    require_cpu(device)
    if isinstance(data, Tensor):
        warn_once(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            stacklevel=3,
        )
        return finish(cast(detached(data), dtype or data.dtype, copy=True), requires_grad)
    return finish(from_array(array_of(data, dtype)), requires_grad)


def array_of(data: Any, dtype: DType | None = None) -> np.ndarray:
    """A fresh ndarray of `data` in `dtype`, or in the dtype PyTorch infers."""
    if isinstance(data, (np.ndarray, np.generic)) or (hasattr(data, "__array__") and not isinstance(data, Tensor)):
        array = np.array(data, order="C")
        return array.astype((dtype or dtypes.of(array.dtype)).np, copy=False)
    array = _nested(data, dtype)
    return array


def _nested(data: Any, dtype: DType | None) -> np.ndarray:
    if isinstance(data, (bool, int, float, complex)):
        inferred = dtype or dtypes.of_number(data)
        return _number(data, inferred)
    if isinstance(data, str) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise (
            TypeError(f"new(): invalid data type '{type(data).__name__}'")
            if isinstance(data, str)
            else RuntimeError(f"Could not infer dtype of {type(data).__name__}")
        )
    shape = _shape_of(data)
    leaves: list[Any] = []
    _collect(data, shape, 0, leaves)
    inferred = dtype or _infer(leaves)
    plain = [x.item() if hasattr(x, "item") else x for x in leaves]
    if not plain:
        return np.empty(shape, inferred.np)
    return _numbers(plain, inferred).reshape(shape)


def _number(value: Any, d: DType) -> np.ndarray:
    if d.category == dtypes.INTEGER and isinstance(value, int):
        info = np.iinfo(d.np)
        if not info.min <= value <= info.max and not (d is not dtypes.int64 and -info.max <= value <= info.max):
            raise RuntimeError(
                "value cannot be converted to type " + d.name + " without overflow" if abs(value) < 1 << 63
                else "Overflow when unpacking long long"
            )  # fmt: skip
    return (
        np.array(value).astype(d.np)
        if not isinstance(value, int) or abs(value) < 1 << 63
        else np.array(float(value), d.np)
    )


def _numbers(plain: list[Any], d: DType) -> np.ndarray:
    if d.category == dtypes.INTEGER:
        plain = [int(v) for v in plain]
        info = np.iinfo(d.np)
        for v in plain:
            if not info.min <= v <= info.max:
                return np.array([_number(v, d) for v in plain], d.np)
        return np.array(plain, d.np)
    if d.category == dtypes.FLOAT:
        return np.array([float(v) if not isinstance(v, complex) else float(v.real) for v in plain], np.float64).astype(
            d.np
        )
    return np.array(plain).astype(d.np)


def _shape_of(data: Any) -> Ints:
    shape: list[int] = []
    while hasattr(data, "__len__") and not isinstance(data, str):
        if isinstance(data, (Tensor, np.ndarray)):
            return (*shape, *data.shape)
        shape.append(len(data))
        if not len(data):
            break
        data = data[0]
    return tuple(shape)


def _collect(data: Any, shape: Ints, depth: int, into: list[Any]) -> None:
    """The numbers of nested sequences in order, checked against the shape of the first ones."""
    if depth == len(shape):
        if hasattr(data, "__len__") and not (isinstance(data, (Tensor, np.ndarray)) and data.ndim == 0):
            if isinstance(data, str):
                raise ValueError(f"too many dimensions '{type(data).__name__}'")
            raise ValueError("only one element tensors can be converted to Python scalars")
        if isinstance(data, str):
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        into.append(data)
        return
    if not hasattr(data, "__len__"):
        raise TypeError(f"expected sequence of length {shape[depth]} at dim {depth}, got {type(data).__name__}")
    if len(data) != shape[depth]:
        raise ValueError(f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})")
    if isinstance(data, Tensor):
        data = data._array()
    if isinstance(data, np.ndarray):
        into.extend(data.reshape(-1))
        return
    for item in data:
        _collect(item, shape, depth + 1, into)


def _infer(leaves: Sequence[Any]) -> DType:
    best: DType | None = None
    for kind in dict.fromkeys((type(x), getattr(x, "dtype", None)) for x in leaves):
        x = next(v for v in leaves if type(v) is kind[0] and getattr(v, "dtype", None) == kind[1])
        if isinstance(x, Tensor):
            d = x.dtype
        elif isinstance(x, np.generic):
            d = dtypes.of(x.dtype)
        elif isinstance(x, (bool, int, float, complex)):
            d = dtypes.of_number(x)
        elif hasattr(x, "__index__"):
            d = dtypes.int64
        else:
            raise RuntimeError(f"Could not infer dtype of {type(x).__name__}")
        best = d if best is None else dtypes.promote_types(best, d)
    return best or dtypes.get_default_dtype()


@public("torch", aliases=("asarray",))
def as_tensor(data: Any, dtype: DType | None = None, device: Any = None, *, copy: bool | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`data` as a tensor, sharing memory with arrays and tensors of that dtype."""
    require_cpu(device)
    if isinstance(data, Tensor):
        made = cast(data, dtype or data.dtype, copy=bool(copy))
        return finish(made, True) if requires_grad else made
    if isinstance(data, np.ndarray) and not copy:
        made = from_numpy(data)
        return finish(cast(made, dtype or made.dtype), requires_grad)
    return tensor(data, dtype=dtype, requires_grad=requires_grad)


@public("torch")
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor over the memory of an ndarray: writes are seen both ways."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array with "
            "array.copy().) "
        )
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders "
            "is currently not supported."
        )
    dtypes.of(ndarray.dtype)
    if not ndarray.flags.writeable:
        warn_once(
            "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means "
            "writing to this tensor will result in undefined behavior; here such writes raise an error.",
            stacklevel=3,
        )
    return from_array(ndarray, external=True)


@public("torch")
def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A one-dimensional tensor over the memory of a Python buffer."""
    view = memoryview(buffer).cast("B")
    available = len(view) - offset
    if len(view) == 0:
        raise ValueError(f"both buffer length ({len(view)}) and count ({count}) must not be 0")
    if not 0 <= offset < len(view):
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({len(view)} bytes) "
            "minus 1"
        )
    if count < 0 and available % dtype.itemsize:
        raise ValueError(
            f"buffer length ({available} bytes) after offset ({offset} bytes) must be a multiple of element size "
            f"({dtype.itemsize})"
        )
    n = available // dtype.itemsize if count < 0 else count
    if n * dtype.itemsize > available:
        raise ValueError(
            f"requested buffer length ({n} * {dtype.itemsize} bytes) after offset ({offset} bytes) must not be greater "
            f"than actual buffer length ({len(view)} bytes)"
        )
    data = np.frombuffer(view, np.uint8, n * dtype.itemsize, offset)
    return finish(fresh(Storage(data, external=True), (n,), dtype), requires_grad)


@public("torch")
def scalar_tensor(s: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor of the default dtype (or `dtype`)."""
    return tensor(s, dtype=dtype or dtypes.get_default_dtype(), device=device, requires_grad=requires_grad)


# -- filled ----------------------------------------------------------------------------------------------------


def filled(shape: Sequence[int], value: Any, dtype: DType, strides: Ints | None = None) -> Tensor:
    """A tensor of one value."""
    shape = checked_shape(shape)
    n = math.prod(shape)
    if value == 0 and type(value) is not complex:
        data = np.zeros(n, dtype.np)
    else:
        number = np.asarray(value).astype(dtype.np)
        if n * dtype.itemsize >= LARGE:
            storage = holding(pooled(n * dtype.itemsize))
            storage.bytes.view(dtype.np)[:] = number
            return fresh(storage, shape, dtype, strides)
        data = np.full(n, number, dtype.np)
    return fresh(Storage(data.view(np.uint8)), shape, dtype, strides)


def uninitialised(shape: Sequence[int], dtype: DType, strides: Ints | None = None) -> Tensor:
    shape = checked_shape(shape)
    return fresh(Storage(empty_bytes(math.prod(shape) * dtype.itemsize)), shape, dtype, strides)


def checked_shape(shape: Sequence[int]) -> Ints:
    shape = tuple(shape)
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    return shape


def _check_layout(layout: Any) -> None:
    if layout is not None and str(layout) not in ("torch.strided", "strided"):
        raise RuntimeError(f"layout {layout} is not supported: tensors are strided")


def _factory(name: str, value: Any) -> Callable[..., Tensor]:
    def function(*size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
                 out: Tensor | None = None, layout: Any = None, pin_memory: bool = False, names: Any = None,
                 memory_format: Any = None) -> Tensor:  # fmt: skip
        require_cpu(device)
        _check_layout(layout)
        shape = shape_args(size)
        d = dtype or (out.dtype if out is not None else dtypes.get_default_dtype())
        made = uninitialised(shape, d) if value is None else filled(shape, value, d)
        if out is not None:
            return out.resize_(shape).copy_(made)
        return finish(made, requires_grad)

    function.__name__ = name
    function.__doc__ = f"A tensor of the given size, {'uninitialised' if value is None else f'filled with {value}'}."
    return public("torch", name=name)(function)


empty, zeros, ones = _factory("empty", None), _factory("zeros", 0), _factory("ones", 1)


@public("torch")
def full(size: Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None,
         requires_grad: bool = False, out: Tensor | None = None, layout: Any = None, names: Any = None,
         pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor of one value; its dtype is that of the value unless given."""
    require_cpu(device)
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}")
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    made = filled(shape_args((size,)), fill_value, dtype or dtypes.of_number(fill_value))
    return finish(made, requires_grad) if out is None else out.resize_(made._shape).copy_(made)


@public("torch")
def empty_strided(size: Sequence[int], stride: Sequence[int], *, dtype: DType | None = None, device: Any = None,
                  requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uninitialised memory with the given strides."""
    require_cpu(device)
    d = dtype or dtypes.get_default_dtype()
    span = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if math.prod(size) else 0
    return finish(fresh(Storage(empty_bytes(span * d.itemsize)), tuple(size), d, tuple(stride)), requires_grad)


def _like(name: str, value: Any) -> Callable[..., Tensor]:
    def function(input: Tensor, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
                 layout: Any = None, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
        require_cpu(device)
        strides = memory_format_strides(input, memory_format)
        d = dtype or input.dtype
        made = uninitialised(input._shape, d, strides) if value is None else filled(input._shape, value, d, strides)
        return finish(made, requires_grad)

    function.__doc__ = f"A tensor shaped like `input`, {'uninitialised' if value is None else f'filled with {value}'}."
    return public("torch", name=name)(function)


empty_like, zeros_like, ones_like = _like("empty_like", None), _like("zeros_like", 0), _like("ones_like", 1)


@public("torch")
def full_like(input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: Any = None,
              requires_grad: bool = False, layout: Any = None, memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor shaped like `input`, filled with one value."""
    require_cpu(device)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    strides = memory_format_strides(input, memory_format)
    return finish(filled(input._shape, fill_value, dtype or input.dtype, strides), requires_grad)


def _new(name: str, value: Any) -> None:
    def method(self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None,
               requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
        require_cpu(device)
        d, shape = dtype or self.dtype, shape_args(size)
        return finish(uninitialised(shape, d) if value is None else filled(shape, value, d), requires_grad)

    method.__doc__ = f"A tensor of the given size with this tensor's dtype: {name}."
    public("Tensor", name=name)(method)


_new("new_empty", None)
_new("new_zeros", 0)
_new("new_ones", 1)


@public("Tensor")
def new_full(self: Tensor, size: Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of one value with this tensor's dtype."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@public("Tensor")
def new_tensor(self: Tensor, data: Any, *, dtype: DType | None = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A copy of `data` with this tensor's dtype."""
    if isinstance(data, Tensor):
        return finish(clone(detached(cast(data, dtype or data.dtype))), requires_grad)
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


# -- ranges ----------------------------------------------------------------------------------------------------


def _plain(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


@public("torch")
def arange(*args: Any, start: Any = None, end: Any = None, step: Any = None, dtype: DType | None = None,
           device: Any = None, requires_grad: bool = False, out: Tensor | None = None, layout: Any = None,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """`start, start + step, ...` below `end`: integers from integers, else the default dtype.

    >>> arange(1, 4)
    tensor([1, 2, 3])
    """
    require_cpu(device)
    given = [_plain(a) for a in args]
    if start is not None and given and end is None and len(given) == 1:
        given = [_plain(start), given[0]]
    if end is not None:
        given = [given[0] if given else _plain(start) if start is not None else 0, _plain(end), *given[1:]]
    if len(given) == 1:
        given = [0, given[0]]
    if step is not None:
        given = [*given[:2], _plain(step)]
    first, last, by = (*given, 1)[:3] if len(given) < 3 else given
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(v, int) for v in (first, last, by))
    d = dtype or (out.dtype if out is not None else dtypes.int64 if whole else dtypes.get_default_dtype())
    made = from_array(_steps(first, by, math.ceil((last - first) / by) if not whole else -(-(last - first) // by), d))
    return finish(made, requires_grad) if out is None else out.resize_(made._shape).copy_(made)


def _steps(first: Any, by: Any, count: int, d: DType) -> np.ndarray:
    wide = np.int64 if d.category == dtypes.INTEGER else np.float64
    if d.category == dtypes.INTEGER:
        first, by = int(first), int(by)
    return (first + by * np.arange(count, dtype=wide)).astype(d.np)


@public("torch", name="range")
def range_(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """The deprecated inclusive range, always floating point unless `dtype` says otherwise."""
    warn_once(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).",
        stacklevel=3,
    )
    if end is None:
        start, end = 0, start
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and larger bound inconsistent with step sign")
    count = math.floor((end - start) / step) + 1
    return finish(from_array(_steps(start, step, count, dtype or dtypes.get_default_dtype())), requires_grad)


@public("torch")
def linspace(start: Any, end: Any, steps: int, *, dtype: DType | None = None, device: Any = None,
             requires_grad: bool = False, out: Tensor | None = None, layout: Any = None) -> Tensor:  # fmt: skip
    """`steps` values from `start` to `end`, both included."""
    require_cpu(device)
    start, end = _plain(start), _plain(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    complex_ = isinstance(start, complex) or isinstance(end, complex)
    d = dtype or (dtypes.default_complex() if complex_ else dtypes.get_default_dtype())
    made = from_array(_line(start, end, steps, d))
    return finish(made, requires_grad) if out is None else out.resize_(made._shape).copy_(made)


def _line(start: Any, end: Any, steps: int, d: DType) -> np.ndarray:
    """Computed from both ends towards the middle, in the dtype itself, so that the ends are exact."""
    kind = d.np.type if d.category >= dtypes.FLOAT and d.itemsize >= 4 else np.float32
    if d.category < dtypes.FLOAT:
        kind = np.float64
    if steps == 1:
        return np.array([start]).astype(d.np)
    low, high = kind(start), kind(end)
    step = kind((high - low) / kind(max(steps - 1, 1)))
    i = np.arange(steps)
    half = steps // 2
    up, down = low + step * i[:half].astype(kind), high - step * (steps - 1 - i[half:]).astype(kind)
    values = np.concatenate([up, down])
    return (np.trunc(values) if d.category < dtypes.FLOAT else values).astype(d.np)


@public("torch")
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType | None = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`base` to the powers of a linspace."""
    require_cpu(device)
    d = dtype or dtypes.get_default_dtype()
    powers = np.float64(base) ** _line(_plain(start), _plain(end), steps, dtypes.float64)
    return finish(from_array(powers.astype(d.np)), requires_grad)


@public("torch")
def eye(n: int, m: int | None = None, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
        out: Tensor | None = None, layout: Any = None) -> Tensor:  # fmt: skip
    """The identity matrix of n rows and m (default n) columns."""
    require_cpu(device)
    for size in (n, m or 0):
        if size < 0:
            raise RuntimeError(f"n must be greater or equal to 0, got {size}")
    d = dtype or (out.dtype if out is not None else dtypes.get_default_dtype())
    made = from_array(np.eye(n, m).astype(d.np))
    return finish(made, requires_grad) if out is None else out.resize_(made._shape).copy_(made)


# -- writing whole tensors -------------------------------------------------------------------------------------


@public("Tensor")
def fill(self: Tensor, value: Any) -> Tensor:
    """Every element as `value`."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        return self * 0 + value.to(self.dtype) if value.requires_grad else _constant(self, value.item())
    return _constant(self, value)


def _constant(like: Tensor, value: Any) -> Tensor:
    """A constant in the shape of `like`; it belongs to the graph of `like` with gradient zero."""
    return fill_op(like, value=value)


def _filled(t: Any, x: Any, value: Any) -> Any:
    """A constant, cast as NumPy casts it, in place of every element."""
    with np.errstate(all="ignore"):
        number = np.asarray(value).astype(x.dtype.np).item()
    return t.copy(t.constant(number, x.dtype, x.shape))


fill_op = op(
    "fill", ref=lambda x, value: np.full(x.shape, np.asarray(value).astype(x.dtype), x.dtype),
    meta=lambda x, value: execute.Meta(x._shape, x.dtype), vjp=lambda g, _y, _x, value: (g * 0,),
    lower=Composite(_filled),
)  # fmt: skip


@public("Tensor", name="fill_")
def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element as `value`, in place; also of an expanded tensor, as each element gets the same."""
    written = each_once(self)
    check_writable(written)
    since, mark = next_sequence(), execute.mark()
    assign(written, fill(written, value), since, mark)
    return self


@public("Tensor", name="zero_")
def zero_(self: Tensor) -> Tensor:
    """Every element as zero, in place."""
    return self.fill_(0)
