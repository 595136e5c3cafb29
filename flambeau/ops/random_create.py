"""Making random tensors, and the seeds and states of the generators behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes, random
from flambeau.autograd.mode import no_grad, state
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.ops.apply import resize, type_name
from flambeau.ops.copies import memory_format_strides
from flambeau.ops.create import _check_layout, checked_shape, finish
from flambeau.ops.op import Op, names, public
from flambeau.ops.random import (
    draw,
    drawn_from,
    generator_of,
    integers_op,
    need_std,
    normal_,
    normal_op,
    permutation_op,
    random_,
    uniform_,
    uniform_op,
)
from flambeau.ops.random_checks import bad_call, checked_integer_range, refuse
from flambeau.ops.rules import require_tensor
from flambeau.random import Generator
from flambeau.random.discrete import DIGITS
from flambeau.shape import Ints, broadcast_shapes, shape_args
from flambeau.tensors import Tensor, from_array

_OPTIONS = (
    "Tensor out = None, torch.dtype dtype = None, torch.layout layout = None, torch.device device = None, "
    "bool pin_memory = False, bool requires_grad = False)"
)


def _two_forms(arguments: str) -> tuple[str, str]:
    return f"({arguments}, *, torch.Generator generator, {_OPTIONS}", f"({arguments}, *, {_OPTIONS}"


def _size(function: str, args: tuple, size: Any, generator: Any) -> Ints:
    """The shape from `f(2, 3)`, `f((2, 3))` or `f(size=(2, 3))`."""
    given = args if size is None else (size,)
    mixed = len(given) > 1 and isinstance(given[0], (tuple, list))
    if not given or (args and size is not None) or mixed or not isinstance(generator, (Generator, type(None))):
        kwargs = {} if size is None else {"size": size}
        if generator is not None:
            kwargs["generator"] = generator
        raise bad_call(function, args, kwargs, *_two_forms("tuple of ints size"))
    try:
        return checked_shape(shape_args(given))
    except TypeError:
        raise TypeError(
            f"{function}(): argument 'size' (position 1) must be tuple of ints, not {type(given[0]).__name__}"
        ) from None


def _into(function: str, out: Tensor, shape: Ints, dtype: DType | None) -> Tensor:
    """The user's `out` tensor, ready to be filled."""
    if dtype is not None and dtype is not out.dtype:
        raise RuntimeError(f"dtype {type_name(dtype)} does not match dtype of out parameter ({type_name(out.dtype)})")
    if state.grad and out.requires_grad:
        raise RuntimeError(
            f"aten::{function}(): functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if out._shape != shape:
        resize(out, shape)
    return out


@public("torch")
def rand(*args: Any, size: Any = None, generator: Generator | None = None, out: Tensor | None = None,
         dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
         pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Numbers uniform in [0, 1): `rand(2, 3)` or `rand((2, 3))`.

    >>> from flambeau import manual_seed
    >>> _ = manual_seed(0)
    >>> rand(2)
    tensor([0.4963, 0.7682])
    """
    shape = _size("rand", args, size, generator)
    require_cpu(device)
    _check_layout(layout)
    if out is not None:
        return uniform_(_into("rand", out, shape, dtype), generator=generator)
    d = dtype or dtypes.get_default_dtype()
    refuse(d.category < dtypes.FLOAT, "check_uniform_bounds", d)
    return finish(_standard("rand", uniform_op, shape, None, d, generator), requires_grad)


@public("torch")
def randn(*args: Any, size: Any = None, generator: Generator | None = None, out: Tensor | None = None,
          dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
          pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Standard normal numbers: `randn(2, 3)` or `randn((2, 3))`.

    >>> from flambeau import manual_seed
    >>> _ = manual_seed(0)
    >>> randn(3)
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    shape = _size("randn", args, size, generator)
    require_cpu(device)
    _check_layout(layout)
    if out is not None:
        return normal_(_into("randn", out, shape, dtype), generator=generator)
    d = dtype or dtypes.get_default_dtype()
    refuse(d.category < dtypes.FLOAT, "normal_kernel_cpu", d)
    return finish(_standard("randn", normal_op, shape, None, d, generator), requires_grad)


def _standard(function: str, record: Op, shape: Ints, strides: Ints | None, d: DType, generator: Any) -> Tensor:
    """Uniform in [0, 1), or normal with mean 0 and variance 1 (of a complex number: half in each part)."""
    how = {"low": 0.0, "high": 1.0}
    if record is normal_op:
        how = {"mean": 0.0, "std": 1 / math.sqrt(2) if d.is_complex else 1.0}
    return draw(record, shape, strides, d, generator_of(function, generator), **how)


@public("torch")
def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
              device: Any = None, requires_grad: bool = False, memory_format: Any = None,
              pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1) in the shape, layout and dtype of `input`."""
    d, strides = _like("rand_like", input, dtype, device, memory_format)
    refuse(d.category < dtypes.FLOAT, "check_uniform_bounds", d)
    return finish(_standard("rand_like", uniform_op, input._shape, strides, d, generator), requires_grad)


@public("torch")
def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
               device: Any = None, requires_grad: bool = False, memory_format: Any = None,
               pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Standard normal numbers in the shape, layout and dtype of `input`."""
    d, strides = _like("randn_like", input, dtype, device, memory_format)
    refuse(d.category < dtypes.FLOAT, "normal_kernel_cpu", d)
    return finish(_standard("randn_like", normal_op, input._shape, strides, d, generator), requires_grad)


def _like(function: str, input: Any, dtype: DType | None, device: Any, memory_format: Any) -> tuple[DType, Ints | None]:
    require_tensor(function, "input", 1, input)
    require_cpu(device)
    return dtype or input.dtype, memory_format_strides(input, memory_format)


@public("torch")
def randint(*args: Any, low: Any = None, high: Any = None, size: Any = None, generator: Generator | None = None,
            out: Tensor | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers in [0, high) or [low, high), int64 unless `dtype` says otherwise: `randint(10, (2,))`.

    >>> from flambeau import manual_seed
    >>> _ = manual_seed(0)
    >>> randint(3, 5, (3,))
    tensor([3, 4, 4])
    """
    bounds, shape = _randint_arguments(args, {"low": low, "high": high, "size": size})
    require_cpu(device)
    if out is not None:
        return random_(_into("randint", out, shape, dtype), *bounds, generator=generator)
    d = dtype or dtypes.int64
    return finish(_integers_in("randint", bounds, shape, None, d, generator), requires_grad)


def _randint_arguments(args: tuple, named: dict[str, Any]) -> tuple[tuple[int, int], Ints]:
    """(low, high), shape: from positions in the order [low,] high, size, and from names."""
    named = {k: v for k, v in named.items() if v is not None}
    slots = [name for name in ("low", "high", "size") if name not in named]
    given = {**named, **dict(zip(slots[-len(args) :] if args else [], args))}
    size = given.get("size")
    if len(args) > len(slots) or "high" not in given or not isinstance(size, (tuple, list)):
        raise bad_call("randint", args, named, *_two_forms("int high, tuple of ints size"),
                       *_two_forms("int low, int high, tuple of ints size"))  # fmt: skip
    bounds = _bounds("randint", given.get("low", 0), given["high"], "low" in given)
    return bounds, checked_shape(shape_args((size,)))


def _bounds(function: str, low: Any, high: Any, both: bool) -> tuple[int, int]:
    for name, value, position in (("low", low, 1), ("high", high, 2 if both else 1)):
        if not hasattr(value, "__index__"):
            raise TypeError(
                f"{function}(): argument '{name}' (position {position}) must be int, not {type(value).__name__}"
            )
    return low.__index__(), high.__index__()


def _integers_in(
    function: str, bounds: tuple[int, int], shape: Ints, strides: Ints | None, d: DType, generator: Any
) -> Tensor:
    found = checked_integer_range(*bounds, d)
    assert found is not None  # both bounds are given
    return draw(integers_op, shape, strides, d, generator_of(function, generator), low=found[0], span=found[1])


_LIKE_OPTIONS = (
    "torch.memory_format memory_format = None, torch.dtype dtype = None, torch.layout layout = None, "
    "torch.device device = None, bool pin_memory = False, bool requires_grad = False)"
)
_LIKE_FORMS = [
    f"(Tensor input, {bounds}, *, {generator}{_LIKE_OPTIONS}"
    for bounds in ("int low, int high", "Tensor high", "int high")
    for generator in ("torch.Generator generator, ", "")
]


@public("torch")
def randint_like(input: Tensor, *args: Any, low: Any = None, high: Any = None, generator: Generator | None = None,
                 dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                 memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers in [0, high) or [low, high) in the shape, layout and dtype of `input`."""
    d, strides = _like("randint_like", input, dtype, device, memory_format)
    given = [*([] if low is None else [low]), *args, *([] if high is None else [high])]
    if not 1 <= len(given) <= 2:
        raise bad_call("randint_like", (input, *args), {}, *_LIKE_FORMS)
    bounds = _bounds("randint_like", given[0] if len(given) == 2 else 0, given[-1], len(given) == 2)
    return finish(_integers_in("randint_like", bounds, input._shape, strides, d, generator), requires_grad)



@public("torch")
def randperm(n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False,
             pin_memory: bool = False) -> Tensor:  # fmt: skip
    """The integers 0 ... n - 1 in random order.

    >>> from flambeau import manual_seed
    >>> _ = manual_seed(0)
    >>> randperm(4)
    tensor([0, 1, 3, 2])
    """
    if not hasattr(n, "__index__"):
        raise TypeError(f"randperm(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    n = n.__index__()
    require_cpu(device)
    checked_shape((n,))
    d = dtype or (dtypes.int64 if out is None else out.dtype)
    _check_countable(n, d)
    g = generator_of("randperm", generator)
    made = draw(permutation_op, (n,), None, d, g)
    if out is None:
        return finish(made, requires_grad)
    return _into("randperm", out, (n,), dtype).copy_(made)  # type: ignore[attr-defined]


def _check_countable(n: int, d: DType) -> None:
    """Whether a dtype can hold all integers below n."""
    digits = DIGITS.get(d.name)
    if digits and n > (1 << digits) + 1:
        raise RuntimeError(f"n cannot be greater than {(1 << digits) + 1} for {type_name(d)} type.")
    if d.category == dtypes.INTEGER and n > int(np.iinfo(d.np).max):
        raise RuntimeError(f"value cannot be converted to type {d.name}_t without overflow")
    refuse(d.category not in (dtypes.INTEGER, dtypes.FLOAT), "randperm", d)


@public("torch")
def normal(mean: Any = None, std: Any = 1.0, size: Sequence[int] | None = None, *, generator: Generator | None = None,
           out: Tensor | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers with means and standard deviations from tensors or numbers; two numbers need a `size`.

    Args:
        mean, std: numbers, or tensors that broadcast together; a tensor's gradient is zero.
        size: the shape, where both are numbers.
    """
    require_cpu(device)
    tensors = isinstance(mean, Tensor) or isinstance(std, Tensor)
    if isinstance(size, (tuple, list)) and not tensors:
        return _normal_of_size(float(mean), float(std), shape_args((size,)), generator, out, dtype, requires_grad)
    if size is not None or not tensors:
        tail = "*, torch.Generator generator = None, Tensor out = None)"
        kwargs = {} if size is None else {"size": size}
        raise bad_call(
            "normal", (mean, std), kwargs, f"(Tensor mean, Tensor std, {tail}", f"(Tensor mean, float std = 1, {tail}",
            f"(float mean, Tensor std, {tail}",
            f"(float mean, float std, tuple of ints size, *, torch.Generator generator = None, {_OPTIONS}",
        )  # fmt: skip
    return _normal_around(mean, std, generator, out)


def _normal_of_size(
    mean: float, std: float, size: Ints, generator: Any, out: Tensor | None, dtype: DType | None, requires_grad: bool
) -> Tensor:
    shape = checked_shape(size)
    if out is not None:
        return normal_(_into("normal", out, shape, dtype), mean, std, generator=generator)
    need_std(std)
    d = dtype or dtypes.get_default_dtype()
    refuse(d.category < dtypes.FLOAT, "normal_kernel_cpu", d)
    spread = std / math.sqrt(2) if d.is_complex else std
    g = generator_of("normal", generator)
    return finish(draw(normal_op, shape, None, d, g, mean=mean, std=spread), requires_grad)


def _normal_around(mean: Any, std: Any, generator: Any, out: Tensor | None) -> Tensor:
    """Drawn around zero first, then scaled and shifted in place: PyTorch's order of roundings."""
    if isinstance(std, Tensor):
        if std.dtype.is_complex:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if std.numel() and not bool((std._array() >= 0).all()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
    else:
        need_std(std)
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    shape = broadcast_shapes(*[t._shape for t in tensors])
    d = tensors[0].dtype
    with no_grad():
        if out is not None:
            values = _into("normal", out, shape, None)
        else:
            values = from_array(np.empty(shape, d.np))
        normal_(values, 0.0, 1.0 if isinstance(std, Tensor) else float(std), generator=generator)
        if isinstance(std, Tensor):
            values.mul_(std)  # type: ignore[attr-defined]
        values.add_(mean)  # type: ignore[attr-defined]
    if out is not None or not (state.grad and any(t.requires_grad for t in tensors)):
        return values
    form = 3 if len(tensors) == 2 else 1 if isinstance(mean, Tensor) else 2
    return drawn_from(*tensors, values=values, label=f"NormalBackward{form}")


# -- seeds and states ----------------------------------------------------------------------------------------------


def _get_state(self: Generator) -> Tensor:
    """The generator's state as a uint8 tensor that PyTorch's `set_state` takes too."""
    return from_array(self.state_bytes())


def _set_state(self: Generator, new_state: Tensor) -> Generator:
    """Continue from a state that `get_state` gave, here or in PyTorch."""
    if not isinstance(new_state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
    self.set_state_bytes(new_state._array())
    return self


def get_rng_state() -> Tensor:
    """The state of the default generator as a uint8 tensor."""
    return _get_state(random.default_generator)


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default generator from a state that `get_rng_state` gave, here or in PyTorch."""
    _set_state(random.default_generator, new_state)


# The generators lie below tensors; what they say in tensors is added to them here.
Generator.get_state = Generator.graphsafe_get_state = _get_state  # type: ignore[attr-defined]
Generator.set_state = Generator.graphsafe_set_state = _set_state  # type: ignore[attr-defined]
for _function in (get_rng_state, set_rng_state):
    setattr(random, _function.__name__, _function)
    names["torch"][_function.__name__] = _function
for _name in ("manual_seed", "seed", "initial_seed", "Generator", "default_generator"):
    names["torch"][_name] = getattr(random, _name)
