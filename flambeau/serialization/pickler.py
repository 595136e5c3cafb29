"""The pickler behind `save`: tensors' memory is left out and referred to, and this house's names become PyTorch's."""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from flambeau import pickling
from flambeau.devices import device
from flambeau.dtypes import dtype
from flambeau.engine.value import Storage
from flambeau.methods.structure import Layout
from flambeau.nn.parameter import Parameter, is_lazy
from flambeau.serialization import names
from flambeau.serialization.locations import location_tag
from flambeau.storage import STORAGE_TYPES, TypedStorage, UntypedStorage


class StorageTable:
    """The storages of one checkpoint, numbered as the pickle meets them."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._dtypes: dict[str, dtype] = {}
        self.storages: dict[str, Storage] = {}

    def entry(self, handle: TypedStorage | UntypedStorage) -> tuple[str, Any, str, str, int]:
        """What stands in the pickle for a storage: tag, type, key, location and number of elements."""
        storage, kind = handle._storage, handle.dtype
        key = self._keys.setdefault(id(storage), str(len(self._keys)))
        if self._dtypes.setdefault(key, kind) is not kind and storage.nbytes:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        self.storages[key] = storage
        marker = UntypedStorage if isinstance(handle, UntypedStorage) else STORAGE_TYPES[kind]
        return "storage", marker, key, location_tag(handle), len(handle)

    def itemsize(self, key: str) -> int:
        """Bytes of an element of the storage as the pickle sees it."""
        return self._dtypes[key].itemsize


class _Names:
    """Mixed into a Python-level pickler: the two places where it needs to know PyTorch."""

    persistent: Callable[[Any], Any]
    _base_global: Callable[..., None]

    def persistent_id(self, obj: Any) -> Any:
        return self.persistent(obj)

    def reducer_override(self, obj: Any) -> Any:
        if is_lazy(obj):
            return type(obj), (obj.requires_grad,)
        if isinstance(obj, Parameter):
            data, state = obj.data, pickling.fields_of(obj)
            if state:
                return names.rebuild_parameter_with_state, (data, obj.requires_grad, OrderedDict(), state)
            return names.rebuild_parameter, (data, obj.requires_grad, OrderedDict())
        if isinstance(obj, device):
            return device, (obj.type,) if obj.index is None else (obj.type, obj.index)
        if isinstance(obj, Layout):
            return names.get_layout, (str(obj),)
        if isinstance(obj, dtype):
            return obj.name
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        known = names.torch_name(obj, name)
        if known is None:
            self._base_global(obj, name)
            return
        module, name = known
        if self.proto >= 4:  # type: ignore[attr-defined]
            self.save(module)  # type: ignore[attr-defined]
            self.save(name)  # type: ignore[attr-defined]
            self.write(pickle.STACK_GLOBAL)  # type: ignore[attr-defined]
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]


@functools.cache
def _pickler_class(module: types.ModuleType) -> type:
    """The pickler of `pickle` (or of a module like it) that writes PyTorch's names."""
    # Only the pickler written in Python lets a class choose how globals are named.
    base = getattr(module, "_Pickler", None) or module.Pickler
    dispatch = dict(getattr(base, "dispatch", {}))
    plain = dispatch.get(types.FunctionType)

    def save_function(self: Any, obj: Any, name: str | None = None) -> None:
        if plain is None or names.torch_name(obj, name) is not None:
            self.save_global(obj, name)
        else:
            plain(self, obj) if name is None else plain(self, obj, name)

    dispatch[types.FunctionType] = save_function
    fields = {"dispatch": dispatch, "_base_global": getattr(base, "save_global", None)}
    return type("CheckpointPickler", (_Names, base), fields)


def dump(obj: Any, file: IO[bytes], module: Any, protocol: int, persistent: Callable[[Any], Any]) -> None:
    """Pickle `obj`; `persistent` gives what stands in the pickle for a storage, or None."""
    pickler = _pickler_class(module)(file, protocol)
    pickler.persistent = persistent
    pickler.dump(obj)


def dumps(obj: Any, module: Any, protocol: int, table: StorageTable) -> bytes:
    """The pickle of `obj`, its storages entered in `table`."""

    def persistent(part: Any) -> Any:
        return table.entry(part) if isinstance(part, (TypedStorage, UntypedStorage)) else None

    buffer = io.BytesIO()
    dump(obj, buffer, module, protocol, persistent)
    return buffer.getvalue()
