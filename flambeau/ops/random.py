"""Random tensors: factories, sampling, the methods that fill a tensor in place, and seeding.

The numbers are those of PyTorch on the CPU for the same seed (`flambeau.random` has the algorithms). Each
distribution is one record: its reference draws a flat vector from a Generator and lays it out in the order in which
PyTorch's kernels visit the tensor's memory. The derivative of what was drawn is zero.

Dropout lives in `ops.dropouts`; what needs a mask of its own draws it as `empty_like(x).bernoulli_(1 - p)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes, random
from flambeau.autograd.mode import state
from flambeau.autograd.node import next_sequence
from flambeau.dtypes import dtype as DType
from flambeau.engine import execute
from flambeau.engine.execute import Meta
from flambeau.errors import NotSupportedError
from flambeau.ops.apply import assign, check_writable, resize, type_name
from flambeau.ops.create import filled
from flambeau.ops.op import Op, op, public
from flambeau.ops.random_checks import (
    bad_call,
    c_name,
    checked_integer_range,
    need_float,
    need_uniform_range,
    no_more,
    refuse,
)
from flambeau.ops.rules import require_tensor
from flambeau.random import Generator, continuous, discrete, rejection
from flambeau.random.normal import normal as draw_normal
from flambeau.random.order import collect, place
from flambeau.shape import (
    Ints,
    broadcast_shapes,
    contiguous_strides,
    is_contiguous,
    is_dense,
    preserved_strides,
)
from flambeau.tensors import Tensor

# -- records ---------------------------------------------------------------------------------------------------


def _meta(*_: Any, shape: Ints, strides: Ints, dtype: DType, **__: Any) -> Meta:
    return Meta(shape, dtype, strides if is_dense(shape, strides) else None)


def _flat(_g: Any, _y: Any, *_inputs: Any, **_: Any) -> tuple:
    """The derivative of a drawn number: zero for everything it was drawn from or written over."""
    return tuple([None if x is None or not hasattr(x, "shape") else filled(x.shape, 0, x.dtype) for x in _inputs])


def _no_path_derivative(_g: Any, _y: Any, _alpha: Any, **_: Any) -> tuple:
    raise NotSupportedError("the derivative of gamma and Dirichlet samples by their parameters is not implemented")


def _sampler(name: str, draw: Callable[..., np.ndarray], backward_name: str | None = None) -> Op:
    """The record of a distribution; `draw(generator, n, dtype=..., **how)` gives `n` numbers in drawing order.

    Its one input is the tensor that will be overwritten, if that is in a graph, else None.
    """

    def ref(_over: Any, shape: Ints, strides: Ints, dtype: DType, generator: Generator, **how: Any) -> np.ndarray:
        if dtype.is_complex:
            pairs = tuple(2 * s for s in strides)
            parts = ref(None, (*shape, 2), (*pairs, 1), dtype.to_real(), generator, **how)
            return np.ascontiguousarray(parts).view(dtype.np)[..., 0]
        return place(draw(generator, math.prod(shape), dtype=dtype.np, **how), shape, (strides,))

    return op(name, ref=ref, meta=_meta, vjp=_flat, backward_name=backward_name)


normal_op = _sampler("normal", draw_normal)
uniform_op = _sampler("uniform", continuous.uniform)
_exponential = _sampler("exponential", continuous.exponential)
_cauchy = _sampler("cauchy", continuous.cauchy)
_log_normal = _sampler("log_normal", continuous.log_normal)
_geometric = _sampler("geometric", discrete.geometric)
_bernoulli = _sampler("bernoulli", discrete.bernoulli, "BernoulliBackward2")
integers_op = _sampler("random_from_to", discrete.integers, "RandomBackward0")
_all_int64 = _sampler("random_all_int64", discrete.all_int64, "RandomBackward0")
_default_integers = _sampler("random", discrete.default_integers, "RandomBackward2")
permutation_op = _sampler("randperm", discrete.permutation)


def _bernoulli_each_ref(
    _over: Any, p: np.ndarray, shape: Ints, strides: Ints, dtype: DType, generator: Generator, p_strides: Ints
) -> np.ndarray:
    both = (strides, p_strides)
    flat = collect(np.broadcast_to(p, shape), both)
    return place(discrete.bernoulli_each(generator, flat, dtype.np), shape, both)


_bernoulli_each = op(
    "bernoulli_each", ref=_bernoulli_each_ref, meta=_meta, vjp=_flat,
    backward_name=lambda inputs, _params: "BernoulliBackward0" if inputs[0] is None else "BernoulliBackward1",
)  # fmt: skip


def _elementwise_sampler(name: str, draw: Callable[..., np.ndarray], vjp: Any = _flat) -> Op:
    """The record of a distribution with tensors of parameters, all of the result's shape and drawn in its order."""

    def ref(*parameters: np.ndarray, shape: Ints, strides: Ints, dtype: DType, generator: Generator) -> np.ndarray:
        flat = [collect(np.broadcast_to(p, shape), (strides,)).astype(dtype.np) for p in parameters]
        return place(draw(generator, *flat), shape, (strides,))

    return op(name, ref=ref, meta=_meta, vjp=vjp)


_poisson = _elementwise_sampler("poisson", lambda g, rate: rejection.poisson(g, rate.astype(np.float64), rate.dtype))
_binomial = _elementwise_sampler("binomial", rejection.binomial)
_gamma = _elementwise_sampler("standard_gamma", rejection.standard_gamma, _no_path_derivative)
_dirichlet = op(
    "dirichlet", meta=_meta, vjp=_no_path_derivative,
    ref=lambda alpha, shape, generator, **_: rejection.dirichlet(generator, np.ascontiguousarray(alpha)),
)  # fmt: skip
drawn_from = op(
    "drawn_from", ref=lambda *_, values, label: values._array(), vjp=_flat,
    meta=lambda *_, values, label: Meta(values._shape, values.dtype, values._strides),
    backward_name=lambda _inputs, params: params["label"],
)  # fmt: skip


def generator_of(function: str, given: Any) -> Generator:
    if given is None:
        return random.default_generator
    if not isinstance(given, Generator):
        raise TypeError(f"{function}(): argument 'generator' must be torch.Generator, not {type(given).__name__}")
    return given


def draw(record: Op, shape: Ints, strides: Ints | None, dtype: DType, generator: Generator, **how: Any) -> Tensor:
    """A new tensor from a distribution."""
    layout = contiguous_strides(shape) if strides is None else strides
    if record is normal_op:
        how["contiguous"] = is_contiguous(shape, layout)
    return record(None, shape=shape, strides=layout, dtype=dtype, generator=generator, **how)


# -- filling a tensor in place -----------------------------------------------------------------------------------


def _overwrite(self: Tensor, record: Op, generator: Any, *parameters: Any, **how: Any) -> Tensor:
    g = generator_of(record.name + "_", generator)
    if not self.numel():
        return self
    since = next_sequence()
    execute.refuse_repeated(self)
    if record is normal_op:
        how["contiguous"] = is_contiguous(self._shape, self._strides)
    over = self if state.grad and self.requires_grad else None
    drawn = record(
        over, *parameters, shape=self._shape, strides=self._strides, dtype=self.dtype, generator=g, **how
    )
    return assign(self, drawn, since)


@public("Tensor", name="uniform_")
def uniform_(self: Tensor, from_: float = 0, to: float = 1, *, generator: Generator | None = None, **kw: Any) -> Tensor:
    """Fill with numbers uniform in [from, to).

    >>> from flambeau import empty
    >>> empty(3).uniform_(-1, 1).shape
    torch.Size([3])
    """
    low = kw.pop("from", from_)
    no_more("uniform_", kw)
    check_writable(self)
    need_uniform_range(self.dtype, low, to)
    return _overwrite(self, uniform_op, generator, low=float(low), high=float(to))


@public("Tensor", name="normal_")
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers; complex tensors get half the variance in each part."""
    check_writable(self)
    need_std(std)
    need_float("normal_kernel_cpu", self, complex_too=True)
    if self.dtype.is_complex:
        std = std / math.sqrt(2)
    return _overwrite(self, normal_op, generator, mean=float(mean), std=float(std))


def need_std(std: float) -> None:
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


@public("Tensor", name="random_")
def random_(self: Tensor, *args: Any, generator: Generator | None = None, **kw: Any) -> Tensor:
    """Fill with integers: `random_()` over what the dtype counts exactly, `random_(to)`, `random_(from, to)`.

    A `to` of None means as far as the dtype goes.
    """
    bounds = [*args, *(kw.pop(k) for k in ("from", "to") if k in kw)]
    no_more("random_", kw)
    if len(bounds) > 2 or not all(b is None or hasattr(b, "__index__") for b in bounds):
        raise bad_call("random_", args, kw, "(*, torch.Generator generator = None)",
                       "(int from, int to, *, torch.Generator generator = None)",
                       "(int to, *, torch.Generator generator = None)")  # fmt: skip
    check_writable(self)
    if not bounds:
        refuse(self.dtype.is_complex, "random_kernel_cpu", self.dtype)
        return _overwrite(self, _default_integers, generator)
    low, high = (0, bounds[0]) if len(bounds) == 1 else bounds
    return random_between(self, low.__index__(), high, generator)


def random_between(self: Tensor, low: int, high: Any, generator: Any) -> Tensor:
    found = checked_integer_range(low, None if high is None else high.__index__(), self.dtype)
    if found is None:
        return _overwrite(self, _all_int64, generator)
    return _overwrite(self, integers_op, generator, low=found[0], span=found[1])


@public("Tensor", name="bernoulli_")
def bernoulli_(self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with ones with probability `p` (a number, or a tensor of one for each element), else zeros."""
    check_writable(self)
    if not isinstance(p, Tensor):
        _need_probability(p)
        refuse(self.dtype.is_complex, "bernoulli_scalar_cpu_", self.dtype)
        return _overwrite(self, _bernoulli, generator, p=float(p))
    refuse(self.dtype.is_complex, "bernoulli_tensor_cpu_self_", self.dtype)
    need_float("bernoulli_tensor_cpu_p_", p)
    wide = p.expand(self._shape)  # type: ignore[attr-defined]
    return _overwrite(self, _bernoulli_each, generator, p, p_strides=wide._strides)


def _need_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")


@public("Tensor", name="exponential_")
def exponential_(self: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential numbers of rate `lambd`."""
    check_writable(self)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    if not self.dtype.is_floating_point:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {type_name(self.dtype)}"
        )
    return _overwrite(self, _exponential, generator, rate=float(lambd))


@public("Tensor", name="cauchy_")
def cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with Cauchy numbers."""
    check_writable(self)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    if not self.dtype.is_floating_point:
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {c_name(self.dtype)}"
        )
    return _overwrite(self, _cauchy, generator, median=float(median), sigma=float(sigma))


@public("Tensor", name="log_normal_")
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers whose logarithm is normal with this mean and standard deviation."""
    check_writable(self)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    need_float("log_normal_cpu", self)
    return _overwrite(self, _log_normal, generator, mean=float(mean), std=float(std))


@public("Tensor", name="geometric_")
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with counts of trials up to the first success, which has probability `p`."""
    check_writable(self)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    refuse(self.dtype.is_complex or self.dtype is dtypes.bool_, "geometric_cpu", self.dtype)
    return _overwrite(self, _geometric, generator, p=float(p))


# -- sampling from tensors of parameters ---------------------------------------------------------------------------


@public("torch Tensor")
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Ones with the probabilities in `input` (or with probability `p`), else zeros, in the dtype of `input`."""
    require_tensor("bernoulli", "input", 1, input)
    if p is not None:
        _need_probability(p)
        return new_like(input, _bernoulli, generator, p=float(p))
    if out is not None:
        if out._shape != input._shape:
            resize(out, input._shape)
        return bernoulli_(out, input, generator=generator)
    refuse(input.dtype.is_complex, "bernoulli_tensor_cpu_self_", input.dtype)
    if input.numel():
        need_float("bernoulli_tensor_cpu_p_", input)
    return _bernoulli_each(
        None, input, shape=input._shape, strides=contiguous_strides(input._shape), dtype=input.dtype,
        generator=generator_of("bernoulli", generator), p_strides=input._strides,
    )  # fmt: skip


def new_like(input: Tensor, record: Op, generator: Any, **how: Any) -> Tensor:
    """A new contiguous tensor of the shape and dtype of `input`, drawn from a record."""
    return draw(record, input._shape, None, input.dtype, generator_of(record.name, generator), **how)


@public("torch")
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson counts for the rates in `input`, in its dtype."""
    require_tensor("poisson", "input", 1, input)
    need_float("poisson_cpu", input)
    return _poisson(input, shape=input._shape, strides=contiguous_strides(input._shape), dtype=input.dtype,
                    generator=generator_of("poisson", generator))  # fmt: skip


@public("torch")
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Successes in `count` trials of probability `prob`, tensors of the same floating dtype."""
    for name, t in (("count", count), ("prob", prob)):
        require_tensor("binomial", name, 1 if name == "count" else 2, t)
        if not t.dtype.is_floating_point:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {type_name(t.dtype)}")
    refuse(count.dtype.itemsize < 4, "binomial_cpu", count.dtype)
    if prob.dtype is not count.dtype:
        raise RuntimeError(f"Found dtype {type_name(prob.dtype)} but expected {type_name(count.dtype)}")
    if broadcast_shapes(count._shape, prob._shape) != count._shape:
        raise RuntimeError(
            f"output with shape {list(count._shape)} doesn't match the broadcast shape "
            f"{list(broadcast_shapes(count._shape, prob._shape))}"
        )
    return _binomial(count, prob, shape=count._shape, strides=contiguous_strides(count._shape), dtype=count.dtype,
                     generator=generator_of("binomial", generator))  # fmt: skip


@public("torch", name="_standard_gamma")
def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of scale 1 for the shape parameters in `input` (float32 or float64); not differentiable here."""
    require_tensor("_standard_gamma", "input", 1, input)
    return _of_shapes(_gamma, "gamma_cpu", input, generator)


@public("torch", name="_sample_dirichlet")
def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Points of the simplex for the concentrations in the last dimension of `input`; not differentiable here."""
    require_tensor("_sample_dirichlet", "input", 1, input)
    return _of_shapes(_dirichlet, "dirichlet", input, generator)


def _of_shapes(record: Op, kernel: str, input: Tensor, generator: Any) -> Tensor:
    refuse(input.dtype not in (dtypes.float32, dtypes.float64), kernel, input.dtype)
    return record(input, shape=input._shape, strides=contiguous_strides(input._shape), dtype=input.dtype,
                  generator=generator_of(record.name, generator))  # fmt: skip


@public("torch Tensor")
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Indices of categories drawn by the weights in each row of `input`.

    Args:
        input: weights [categories] or [rows, categories], not negative; they need not sum to one.
        num_samples: how many a row; no more than there are categories unless `replacement`.

    >>> from flambeau import tensor
    >>> multinomial(tensor([0.0, 1.0, 0.0]), 1)
    tensor([1])
    """
    require_tensor("multinomial", "input", 1, input)
    _check_multinomial(input, num_samples, replacement, out)
    result = _multinomial(
        input, count=num_samples, replacement=replacement, generator=generator_of("multinomial", generator),
        dtype=input.dtype, strides=preserved_strides(input._shape, input._strides),
    )  # fmt: skip
    if out is None:
        return result
    if out._shape != result._shape:
        resize(out, result._shape)
    return out.copy_(result)  # type: ignore[attr-defined]


def _check_multinomial(input: Tensor, num_samples: int, replacement: bool, out: Tensor | None) -> None:
    if not 0 < input.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {type_name(input.dtype)}"
        )
    if out is not None and out.dtype is not dtypes.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {type_name(out.dtype)}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input._shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if input._shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")


def _multinomial_ref(
    weights: np.ndarray, count: int, replacement: bool, generator: Generator, dtype: DType, strides: Ints
) -> np.ndarray:
    shape = (*weights.shape[:-1], count)
    if not math.prod(shape):
        return np.empty(shape, np.int64)
    weights = weights.astype(dtype.np, copy=False)  # the half types arrive as float32
    if replacement and count > 1:
        return discrete.multinomial_with_replacement(generator, np.atleast_2d(weights), count).reshape(shape)
    if not (weights.max() < np.inf and weights.min() >= 0):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(axis=-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    race = place(continuous.exponential(generator, weights.size, 1.0, dtype.np), weights.shape, (strides,))
    return discrete.first_in_race(weights, race, count)


_multinomial = op(
    "multinomial", ref=_multinomial_ref,
    meta=lambda x, count, **_: Meta((*x._shape[:-1], count), dtypes.int64),
)  # fmt: skip
