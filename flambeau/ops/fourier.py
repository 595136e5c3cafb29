"""Discrete Fourier transforms: `torch.fft`.

Three ops do the work: complex to complex, real to half-complex, half-complex to real. A transform's derivative is the
transform in the other direction with the other normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from flambeau import dtypes
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.ops.apply import type_name
from flambeau.ops.copies import cast
from flambeau.ops.create import finish
from flambeau.ops.elementwise import conj
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import Maker, call
from flambeau.ops.shape_ops import constant_pad_op, roll
from flambeau.ops.views import slice_op
from flambeau.shape import Ints, contiguous_strides, wrap_dim
from flambeau.tensors import Tensor, from_array

Norm = Literal["backward", "forward", "ortho"]
_OPPOSITE: dict[Norm, Norm] = {"backward": "forward", "forward": "backward", "ortho": "ortho"}

# -- the three transforms --------------------------------------------------------------------------------------


def _c2c(x: np.ndarray, dims: Ints, norm: Norm, forward: bool) -> np.ndarray:
    transform = np.fft.fftn if forward else np.fft.ifftn
    return transform(x, axes=dims, norm=norm)


def _laid_out(shape: Ints, dims: Ints, d: DType) -> Meta:
    """A result whose transformed dimensions lie innermost, as PyTorch's libraries leave it."""
    order = [e for e in range(len(shape)) if e not in dims] + sorted(dims)
    inner = contiguous_strides([shape[e] for e in order])
    return Meta(shape, d, tuple(inner[order.index(e)] for e in range(len(shape))))


def _meta_c2c(x: Tensor, dims: Ints, norm: Norm, forward: bool) -> Meta:
    return _laid_out(x._shape, dims, x.dtype.to_complex())


def _half(x: np.ndarray | Tensor, dims: Ints) -> Ints:
    n = x.shape[dims[-1]] // 2 + 1
    return tuple([n if d == dims[-1] else size for d, size in enumerate(x.shape)])


def _r2c_vjp(g: Tensor, _y: Any, _x: Any, dims: Ints, norm: Norm) -> tuple:
    last = dims[-1]
    missing = _x.shape[last] - g._shape[last]
    if missing:
        g = constant_pad_op(g, pad=(0, 0) * (g.ndim - 1 - last) + (0, missing), value=0)
    return (c2c_op(g, dims=dims, norm=_OPPOSITE[norm], forward=False),)


def _c2r(x: np.ndarray, dims: Ints, n: int, norm: Norm) -> np.ndarray:
    sizes = [x.shape[d] for d in dims[:-1]] + [n]
    return np.fft.irfftn(x, s=sizes, axes=dims, norm=norm)


def _meta_c2r(x: Tensor, dims: Ints, n: int, norm: Norm) -> Meta:
    shape = tuple([n if d == dims[-1] else size for d, size in enumerate(x._shape)])
    return _laid_out(shape, dims, x.dtype.to_real())


def _c2r_vjp(g: Tensor, _y: Any, _x: Any, dims: Ints, n: int, norm: Norm) -> tuple:
    """Coefficients that stand for two (their own and the mirrored one) get twice the gradient."""
    half = r2c_op(g, dims=dims, norm=_OPPOSITE[norm])
    times = np.full(half._shape[dims[-1]], 2, half.dtype.to_real().np)
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    shape = [-1 if d == dims[-1] else 1 for d in range(half.ndim)]
    return (half * from_array(times.reshape(shape)),)


def _complex(t: Maker, *shape: int) -> Tensor:
    return from_array(t(*shape)._array() + 1j * t(*shape)._array())


def _samples_c2c(t: Maker) -> Any:
    for norm in _OPPOSITE:
        yield call(_complex(t, 2, 5), dims=(1,), norm=norm, forward=norm != "ortho")
    yield call(t(3, 4), dims=(0, 1), norm="backward", forward=True)
    yield call(_complex(t, 2, 3, 2), dims=(2, 0), norm="backward", forward=False)


c2c_op = op(
    "fft_c2c", ref=_c2c, meta=_meta_c2c, samples=_samples_c2c,
    vjp=lambda g, _y, _x, dims, norm, forward: (c2c_op(g, dims=dims, norm=_OPPOSITE[norm], forward=not forward),),
    backward_name=lambda inputs, _: "FftC2CBackward0" if inputs[0].dtype.is_complex else "FftR2CBackward0",
)  # fmt: skip
r2c_op = op(
    "fft_r2c", ref=lambda x, dims, norm: np.fft.rfftn(x, axes=dims, norm=norm), vjp=_r2c_vjp,
    meta=lambda x, dims, norm: _laid_out(_half(x, dims), dims, x.dtype.to_complex()), backward_name="FftR2CBackward0",
    samples=lambda t: [call(t(2, 5), dims=(1,), norm="backward"), call(t(4, 3), dims=(1, 0), norm="ortho"),
                       call(t(2, 4), dims=(0, 1), norm="forward")],
)  # fmt: skip
c2r_op = op(
    "fft_c2r", ref=_c2r, meta=_meta_c2r, vjp=_c2r_vjp, backward_name="FftC2RBackward0",
    samples=lambda t: [call(_complex(t, 2, 3), dims=(1,), n=5, norm="backward"),
                       call(_complex(t, 2, 3), dims=(1,), n=4, norm="forward"),
                       call(_complex(t, 3, 2), dims=(1, 0), n=4, norm="ortho")],
)  # fmt: skip

# -- arguments -------------------------------------------------------------------------------------------------


def _mode(norm: str | None) -> Norm:
    if norm is None:
        return "backward"
    if norm not in _OPPOSITE:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return norm  # type: ignore[return-value]


def _floating(name: str, x: Any, real: bool = False) -> Tensor:
    require_tensor(f"fft_{name}", "input", 1, x)
    if x.dtype.category < dtypes.FLOAT:
        return cast(x, dtypes.get_default_dtype())
    if real and x.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {type_name(x.dtype)}")
    if x.dtype.itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {type_name(x.dtype)}")
    return x


def _one(x: Tensor, dim: int) -> int:
    if not x._shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x.ndim)


def _check_points(n: int) -> None:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _resized(x: Tensor, dim: int, n: int) -> Tensor:
    """`x` cut off or padded with zeros to `n` elements along `dim`."""
    have = x._shape[dim]
    if n < have:
        return slice_op(x, dim=dim, start=0, length=n, step=1)
    if n > have:
        return constant_pad_op(x, pad=(0, 0) * (x.ndim - 1 - dim) + (0, n - have), value=0)
    return x


def _plan(x: Tensor, s: Sequence[int] | None, dim: Any) -> tuple[Ints, list[int | None]]:
    """The dimensions of an n-dimensional transform, and the sizes asked for."""
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    sizes = None if s is None else [s] if isinstance(s, int) else list(s)
    if dims is not None and sizes is not None and len(dims) != len(sizes):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    if dims is None:
        count = x.ndim if sizes is None else len(sizes)
        if count > x.ndim:
            raise RuntimeError(f"Got shape with {count} values but input tensor only has {x.ndim} dimensions.")
        dims = tuple(range(x.ndim - count, x.ndim))
    wrapped = tuple(wrap_dim(d, x.ndim) for d in dims)
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError("FFT dims must be unique")
    return wrapped, [None if n == -1 else n for n in sizes] if sizes is not None else [None] * len(wrapped)


def _fitted(x: Tensor, dims: Ints, sizes: Sequence[int | None]) -> Tensor:
    for d, n in zip(dims, sizes):
        if n is not None:
            _check_points(n)
            x = _resized(x, d, n)
        else:
            _check_points(x._shape[d])
    return x


def _to_real(name: str, x: Tensor, dims: Ints, sizes: Sequence[int | None], norm: Norm, conjugate: bool) -> Tensor:
    """Half-complex to real: the last size is that of the result."""
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    n = sizes[-1] if sizes[-1] is not None else 2 * (x._shape[dims[-1]] - 1)
    _check_points(n)
    x = _fitted(x, dims[:-1], sizes[:-1])
    x = _resized(x, dims[-1], n // 2 + 1)
    if not x.dtype.is_complex:
        x = cast(x, x.dtype.to_complex())
    return c2r_op(conj(x) if conjugate else x, dims=dims, n=n, norm=norm)


# -- one dimension ---------------------------------------------------------------------------------------------


@public("fft", out=True)
def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform along `dim`; complex, of `n` points (the input is cut off or padded with zeros).

    `norm` "backward" (the default) leaves the forward transform unscaled, "ortho" divides by sqrt(n), "forward" by n.
    """
    x, mode = _floating("fft", input), _mode(norm)
    d = _one(x, dim)
    return c2c_op(_fitted(x, (d,), (n,)), dims=(d,), norm=mode, forward=True)


@public("fft", out=True)
def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`."""
    x, mode = _floating("ifft", input), _mode(norm)
    d = _one(x, dim)
    return c2c_op(_fitted(x, (d,), (n,)), dims=(d,), norm=mode, forward=False)


@public("fft", out=True)
def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """`fft` of real input: only the first n // 2 + 1 coefficients, the others being their mirror images."""
    x, mode = _floating("rfft", input, real=True), _mode(norm)
    d = _one(x, dim)
    return r2c_op(_fitted(x, (d,), (n,)), dims=(d,), norm=mode)


@public("fft", out=True)
def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: real, of `n` points (2 * (m - 1) unless given)."""
    x, mode = _floating("irfft", input), _mode(norm)
    return _to_real("irfft", x, (_one(x, dim),), (n,), mode, False)


@public("fft", out=True)
def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The transform of a signal that is Hermitian in time: real."""
    x, mode = _floating("hfft", input), _mode(norm)
    return _to_real("hfft", x, (_one(x, dim),), (n,), _OPPOSITE[mode], True)


@public("fft", out=True)
def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`."""
    x, mode = _floating("ihfft", input, real=True), _mode(norm)
    d = _one(x, dim)
    return conj(r2c_op(_fitted(x, (d,), (n,)), dims=(d,), norm=_OPPOSITE[mode]))


# -- several dimensions ----------------------------------------------------------------------------------------


def _complex_nd(name: str, forward: bool, default: Any) -> None:
    def function(input: Tensor, s: Any = None, dim: Any = default, norm: str | None = None) -> Tensor:
        x, mode = _floating(name, input), _mode(norm)
        dims, sizes = _plan(x, s, dim)
        x = _fitted(x, dims, sizes)
        if not dims:
            return cast(x, x.dtype.to_complex(), copy=True)
        if not x.dtype.is_complex and len(dims) > 1:
            x = cast(x, x.dtype.to_complex())
        return c2c_op(x, dims=dims, norm=mode, forward=forward)

    function.__name__ = name
    function.__doc__ = f"The {'' if forward else 'inverse '}transform over several dimensions, see `fft`."
    public("fft", name=name, out=True)(function)


def _real_nd(name: str, default: Any, hermitian: bool) -> None:
    def function(input: Tensor, s: Any = None, dim: Any = default, norm: str | None = None) -> Tensor:
        x, mode = _floating(name, input, real=True), _mode(norm)
        dims, sizes = _plan(x, s, dim)
        if not dims:
            raise RuntimeError(f"{name} must transform at least one axis")
        x = _fitted(x, dims, sizes)
        result = r2c_op(x, dims=dims, norm=_OPPOSITE[mode] if hermitian else mode)
        return conj(result) if hermitian else result

    function.__name__ = name
    function.__doc__ = f"`{'ihfft' if hermitian else 'rfft'}` over several dimensions, the last one halved."
    public("fft", name=name, out=True)(function)


def _to_real_nd(name: str, default: Any, hermitian: bool) -> None:
    def function(input: Tensor, s: Any = None, dim: Any = default, norm: str | None = None) -> Tensor:
        x, mode = _floating(name, input), _mode(norm)
        dims, sizes = _plan(x, s, dim)
        return _to_real(name, x, dims, sizes, _OPPOSITE[mode] if hermitian else mode, hermitian)

    function.__name__ = name
    kind = "hfft" if hermitian else "irfft"
    function.__doc__ = f"`{kind}` over several dimensions, the last one halved in the input."
    public("fft", name=name, out=True)(function)


for _suffix, _default in (("2", (-2, -1)), ("n", None)):
    _complex_nd("fft" + _suffix, True, _default)
    _complex_nd("ifft" + _suffix, False, _default)
    _real_nd("rfft" + _suffix, _default, False)
    _real_nd("ihfft" + _suffix, _default, True)
    _to_real_nd("irfft" + _suffix, _default, False)
    _to_real_nd("hfft" + _suffix, _default, True)

# -- frequencies -----------------------------------------------------------------------------------------------


def _frequencies(name: str, numbers: Any) -> None:
    def function(n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None,
                 device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
        require_cpu(device)
        kind = dtype or dtypes.get_default_dtype()
        made = from_array(numbers(n).astype(kind.np) * kind.np.type(1 / (n * d)))
        return finish(made, requires_grad) if out is None else out.resize_(made._shape).copy_(made)

    half = " that `rfft` gives" if name == "rfftfreq" else ""
    function.__doc__ = f"The frequencies of the coefficients{half}, in cycles per unit of the sample spacing `d`."
    public("fft", name=name)(function)


_frequencies("fftfreq", lambda n: np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)]))
_frequencies("rfftfreq", lambda n: np.arange(n // 2 + 1))


def _shift(input: Tensor, dim: Any, back: bool) -> Tensor:
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    sizes = [input._shape[wrap_dim(d, input.ndim)] for d in dims]
    return roll(input, [(n + 1) // 2 if back else n // 2 for n in sizes], dims) if dims else input.clone()


@public("fft")
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """Coefficients in order of frequency, zero in the middle."""
    return _shift(input, dim, False)


@public("fft")
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shift(input, dim, True)
