"""`torch.func` and `torch.vmap`: functions of functions, by loops over rows and by the backward walk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flambeau import ops
from flambeau.autograd import functional, walk
from flambeau.autograd.mode import enable_grad
from flambeau.nn.utils import stateless
from flambeau.tensors import Tensor


def vmap(
    func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
) -> Callable:
    """`func` over the rows of its arguments: each row by itself, the results stacked along `out_dims`."""

    def mapped(*args: Any, **kwargs: Any) -> Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ValueError(
                f"vmap(func, in_dims={in_dims})(<inputs>): in_dims is not compatible with the structure of inputs"
            )
        sizes = {a.shape[d] for a, d in zip(args, dims) if isinstance(a, Tensor) and d is not None}
        if len(sizes) != 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)}"
            )
        rows = [
            func(
                *[a.select(d, i) if isinstance(a, Tensor) and d is not None else a for a, d in zip(args, dims)],
                **kwargs,
            )
            for i in range(sizes.pop())
        ]
        if isinstance(rows[0], (tuple, list)):
            outs = out_dims if isinstance(out_dims, (tuple, list)) else (out_dims,) * len(rows[0])
            return tuple(ops.stack(list(column), d) for column, d in zip(zip(*rows), outs))
        return ops.stack(rows, out_dims)

    return mapped


def grad_and_value(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function giving gradient and value of a scalar function."""

    def derived(*args: Any, **kwargs: Any) -> Any:
        numbers = argnums if isinstance(argnums, tuple) else (argnums,)
        with enable_grad():
            leaves: list[Tensor] = []
            given = list(args)
            for n in numbers:
                given[n] = _as_leaves(args[n], leaves)
            result = func(*given, **kwargs)
            value, aux = result if has_aux else (result, None)
            if value.numel() != 1:
                raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor")
            outer = any(leaf.grad_fn is not None for leaf in leaves)
            grads = iter(
                walk.grad(value.reshape(()), leaves, create_graph=outer, allow_unused=True, materialize_grads=True)
            )
            shaped = tuple(_like(given[n], grads) for n in numbers)
        found = shaped if isinstance(argnums, tuple) else shaped[0]
        value = value if outer else value.detach()
        return (found, (value, aux)) if has_aux else (found, value)

    return derived


def _as_leaves(arg: Any, leaves: list[Tensor]) -> Any:
    if isinstance(arg, Tensor):
        leaf = arg.view_as(arg) if arg.requires_grad else arg.detach().requires_grad_()
        leaves.append(leaf)
        return leaf
    if isinstance(arg, Mapping):
        return {k: _as_leaves(v, leaves) for k, v in arg.items()}
    return type(arg)(_as_leaves(v, leaves) for v in arg)


def _like(arg: Any, grads: Any) -> Any:
    if isinstance(arg, Tensor):
        return next(grads)
    if isinstance(arg, Mapping):
        return {k: _like(v, grads) for k, v in arg.items()}
    return type(arg)(_like(v, grads) for v in arg)


def grad(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function giving the gradient of a scalar function."""

    def derived(*args: Any, **kwargs: Any) -> Any:
        found, value = grad_and_value(func, argnums, has_aux)(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return derived


def _jacobian_of(func: Callable, argnums: int, compute: Callable) -> Callable:
    def derived(*args: Any) -> Any:
        return compute(
            lambda x: func(*args[:argnums], x, *args[argnums + 1 :]),
            args[argnums],
            create_graph=args[argnums].requires_grad,
        )

    return derived


def jacrev(func: Callable, argnums: int = 0, **_: Any) -> Callable:
    """A function giving the Jacobian."""
    return _jacobian_of(func, argnums, functional.jacobian)


jacfwd = jacrev


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """A function giving the Hessian of a scalar function."""
    return _jacobian_of(func, argnums, functional.hessian)


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: Any = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers: a dict of them, or several."""
    if isinstance(parameter_and_buffer_dicts, dict):
        given: Mapping[str, Tensor] = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, (tuple, list)):
        if not all(isinstance(d, dict) for d in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        names = [name for d in parameter_and_buffer_dicts for name in d]
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
            )
        given = {name: t for d in parameter_and_buffer_dicts for name, t in d.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    return stateless.functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: Any) -> tuple[dict, dict]:
    """Parameters and buffers of several modules of one kind, stacked by name."""
    stacked = [
        {
            name: ops.stack([dict(getattr(m, kind)())[name].detach() for m in models])
            for name in dict(getattr(models[0], kind)())
        }
        for kind in ("named_parameters", "named_buffers")
    ]
    return {name: t.requires_grad_() for name, t in stacked[0].items()}, stacked[1]
