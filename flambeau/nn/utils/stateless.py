"""Calling a module with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flambeau.nn.modules.module import Module
from flambeau.tensors import Tensor

Named = Mapping[str, Tensor]
_ABSENT = object()


def functional_call(
    module: Module, parameters_and_buffers: Named, args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """`module(*args, **kwargs)` with the given tensors instead of those of its own; the module stays as it is.

    Args:
        parameters_and_buffers: tensors by dotted name.
        args: the arguments, a tuple or a single one.
        tie_weights: a tensor given for one name serves all names that the module has for it.
        strict: every parameter and buffer must be given, and nothing else.

    Raises:
        RuntimeError: with `strict`, names that are missing or unknown.
        ValueError: different tensors for names that are tied.
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextmanager
def _replaced(module: Module, given: Named, tie_weights: bool, strict: bool) -> Iterator[None]:
    tensors = _untied(module, given) if tie_weights else dict(given)
    if strict:
        _check(module, tensors)
    before: list[tuple[dict, str, Any]] = []
    try:
        for name, tensor in tensors.items():
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            table = next((t for t in (owner._parameters, owner._buffers) if leaf in t), owner.__dict__)
            before.append((table, leaf, table.get(leaf, _ABSENT)))
            table[leaf] = tensor
        yield
    finally:
        for table, leaf, held in reversed(before):
            if held is _ABSENT:
                table.pop(leaf, None)
            else:
                table[leaf] = held


def _named(module: Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False)),
    }  # fmt: skip


def _untied(module: Module, given: Named) -> dict[str, Tensor]:
    """The given tensors, also under the other names of each."""
    tied: dict[int, list[str]] = {}
    for name, tensor in _named(module).items():
        tied.setdefault(id(tensor), []).append(name)
    result = dict(given)
    for names in tied.values():
        present = [name for name in names if name in given]
        if len({id(given[name]) for name in present}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(present)}, which are tied. "
                "Consider using tie_weights=False"
            )
        if present:
            result |= {name: given[present[0]] for name in names}
    return result


def _check(module: Module, given: Named) -> None:
    known = _named(module)
    unexpected = sorted(name for name in given if name not in known)
    missing = sorted(name for name in known if name not in given)
    found = [
        f"{what} key(s): {', '.join(map(repr, keys))}."
        for what, keys in (("Unexpected", unexpected), ("Missing", missing))
        if keys
    ]
    if found:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(found))
