"""The functions that a `weights_only` pickle may call, each with its arguments checked before anything is built.

A builder takes the unpickler (whose `spend` bounds copies and hashing) and the pickle's arguments.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from flambeau import pickling
from flambeau.devices import device
from flambeau.dtypes import dtype
from flambeau.nn.parameter import Parameter
from flambeau.serialization import names
from flambeau.serialization.errors import CheckpointError
from flambeau.shape import Size
from flambeau.storage import TypedStorage
from flambeau.tensors import Tensor

_SCALARS = (str, int, float, bool, type(None), bytes, complex, dtype, device)
_BYTES_PER_ENTRY = 16
_LARGEST_KEY = 1000  # parts of a tuple that serves as a key
_TEXT_ENCODINGS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")


class Machine(Protocol):
    """What a builder may ask of the unpickler."""

    def spend(self, work: int) -> None:
        """Account for work beyond the bytes read."""

    def is_allowed(self, obj: Any) -> bool:
        """Whether the user allowed this class or function."""


def _expect(value: Any, kinds: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, kinds):
        raise CheckpointError(f"the pickle is corrupt: {what} cannot be made of {type(value).__name__}")
    return value


def check_key(machine: Machine, key: Any) -> None:
    """Refuse a dict key or set element whose hash would recurse deeply or run long."""
    waiting, parts = [key], 0
    while waiting:
        part = waiting.pop()
        parts += 1
        if parts > _LARGEST_KEY:
            raise CheckpointError("a key in the pickle is a tuple of too many parts")
        if isinstance(part, (tuple, frozenset)):
            machine.spend(len(part))
            waiting.extend(part if len(part) <= _LARGEST_KEY else [()] * _LARGEST_KEY)
        elif type(part) is int:
            machine.spend(part.bit_length() >> 3)
        elif isinstance(part, (list, dict, set, bytearray)):
            raise CheckpointError(f"unhashable type in the pickle: {type(part).__name__!r}")
    machine.spend(parts)


def _checked_keys(machine: Machine, keys: Any) -> None:
    for key in keys:
        machine.spend(_BYTES_PER_ENTRY)
        check_key(machine, key)


def _size(machine: Machine, items: Any = ()) -> Size:
    for n in _expect(items, (tuple, list), "a Size"):
        _expect(n, int, "a Size")
    machine.spend(8 * len(items))
    return Size(items)


def _device(machine: Machine, kind: Any, index: Any = None) -> device:
    return device(_expect(kind, str, "a device"), _expect(index, (int, type(None)), "a device"))


def _ordered_dict(machine: Machine, items: Any = ()) -> OrderedDict:
    pairs = [_expect(pair, (tuple, list), "an OrderedDict") for pair in _expect(items, (tuple, list), "an OrderedDict")]
    _checked_keys(machine, (key for key, _ in pairs))
    return OrderedDict(pairs)


def _counter(machine: Machine, counts: Any = None) -> Counter:
    counts = _expect({} if counts is None else counts, dict, "a Counter")
    _checked_keys(machine, counts)
    return Counter(counts)


def _set(machine: Machine, items: Any = ()) -> set:
    _checked_keys(machine, _expect(items, (tuple, list), "a set"))
    return set(items)


def _bytes(machine: Machine) -> bytes:
    return b""


def _bytearray(machine: Machine, data: Any = b"", encoding: Any = None) -> bytearray:
    if isinstance(data, str):
        data = _encode(machine, data, encoding)
    machine.spend(len(_expect(data, (bytes, bytearray), "a bytearray")))
    return bytearray(data)


def _complex(machine: Machine, real: Any, imag: Any = 0.0) -> complex:
    return complex(_expect(real, (int, float), "a complex"), _expect(imag, (int, float), "a complex"))


def _encode(machine: Machine, text: Any, encoding: Any = "utf-8") -> bytes:
    if encoding not in _TEXT_ENCODINGS:
        raise CheckpointError("the pickle is corrupt: bytes are encoded as latin1")
    machine.spend(len(_expect(text, str, "bytes")))
    return text.encode(encoding)


def _tensor(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def build(machine: Machine, storage: Any, *args: Any) -> Tensor:
        _expect(storage, TypedStorage, "a tensor")
        return function(storage, *args)

    return build


def _tensor_v3(machine: Machine, storage: Any, *args: Any) -> Tensor:
    _expect(storage, TypedStorage, "a tensor")
    _expect(args[5], dtype, "a tensor's dtype")
    return pickling.rebuild_tensor_v3(storage, *args)


def _parameter(machine: Machine, data: Any = None, requires_grad: Any = True) -> Tensor:
    return names.rebuild_parameter(data, requires_grad, None)


def _parameter_with_state(
    machine: Machine, data: Any, requires_grad: Any, hooks: Any = None, state: Any = None
) -> Tensor:
    return names.rebuild_parameter(data, requires_grad, hooks, _state(state))


def _from_type(machine: Machine, function: Any, new_type: Any, args: Any, state: Any) -> Tensor:
    build = _TENSOR_BUILDERS.get(id(function))
    known = new_type in (Tensor, Parameter) if isinstance(new_type, type) else False
    if build is None or not (known or machine.is_allowed(new_type)):
        raise CheckpointError(f"the pickle asks for a tensor of an unknown type {type_name(new_type)}")
    tensor = build(machine, *_expect(args, tuple, "arguments"))
    return pickling.rebuild_from_type_v2(lambda: tensor, new_type, (), _state(state))


def _state(state: Any) -> Any:
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        _expect(part, (dict, type(None)), "a tensor's state")
    return state


def _layout(machine: Machine, name: Any) -> Any:
    return names.get_layout(_expect(name, str, "a layout"))


def _refused(function: Callable) -> Callable:
    return lambda machine, *args: function()


def type_name(obj: Any) -> str:
    """A short name for an object out of a pickle: printing the object itself could take forever."""
    if isinstance(obj, type) or callable(obj):
        return f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', type(obj).__name__)}"
    return f"<{type(obj).__name__}>"


def encode(text: str, encoding: str = "utf-8") -> bytes:
    """What stands for `_codecs.encode`, by which Python 3 writes bytes for protocol 2."""
    return text.encode(encoding)


_TENSOR_BUILDERS: dict[int, Callable] = {
    id(pickling.rebuild_tensor): _tensor(pickling.rebuild_tensor),
    id(pickling.rebuild_tensor_v2): _tensor(pickling.rebuild_tensor_v2),
    id(pickling.rebuild_tensor_v3): _tensor_v3,
    id(names.rebuild_parameter): _parameter_with_state,
    id(names.rebuild_parameter_with_state): _parameter_with_state,
}
BUILDERS: dict[int, Callable] = {
    id(Size): _size,
    id(device): _device,
    id(OrderedDict): _ordered_dict,
    id(Counter): _counter,
    id(set): _set,
    id(bytes): _bytes,
    id(bytearray): _bytearray,
    id(complex): _complex,
    id(encode): _encode,
    id(Parameter): _parameter,
    id(names.get_layout): _layout,
    id(pickling.rebuild_from_type_v2): _from_type,
    **{id(f): _refused(f) for f in names.REFUSED.values()},
    **_TENSOR_BUILDERS,
}
