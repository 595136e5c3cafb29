"""Two spellings of a global's name: what a PyTorch pickle says, and the object that Flambeau has for it.

Checkpoints name classes and functions by PyTorch's module paths, in both directions, so that either library reads
the other's files.
"""

from __future__ import annotations

import importlib
import io
import types
from typing import Any

from flambeau import pickling
from flambeau.devices import device
from flambeau.dtypes import ALL
from flambeau.methods.structure import Layout, strided
from flambeau.nn.parameter import Parameter
from flambeau.serialization.errors import CheckpointError
from flambeau.shape import Size
from flambeau.storage import STORAGE_TYPES, TypedStorage, UntypedStorage
from flambeau.tensors import Tensor


def rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any, state: Any = None) -> Tensor:
    """PyTorch's `_rebuild_parameter`, and with `state` its `_rebuild_parameter_with_state`."""
    if not isinstance(data, Tensor):
        raise RuntimeError(f"a parameter is made of a tensor, not of {type(data).__name__}")
    return pickling.rebuild_parameter(Parameter, data, bool(requires_grad), state)


def rebuild_parameter_with_state(data: Tensor, requires_grad: bool, backward_hooks: Any, state: Any) -> Tensor:
    """PyTorch's spelling for a parameter that carries attributes."""
    return rebuild_parameter(data, requires_grad, backward_hooks, state)


def get_layout(name: Any) -> Layout:
    """PyTorch's `_get_layout`: the layout that prints as `name`."""
    if name != str(strided):
        raise CheckpointError("the checkpoint holds a sparse tensor, which Flambeau does not support")
    return strided


def load_from_bytes(data: bytes) -> TypedStorage:
    """A storage as a plain pickle by PyTorch holds it: a checkpoint of its own inside the pickle."""
    # The loader is the floor above; a pickle that says so brings it in, as it would any other module.
    return importlib.import_module("flambeau.serialization").load(io.BytesIO(data), weights_only=False)


def _refuse(what: str) -> Any:
    def refused(*args: Any) -> Any:
        raise CheckpointError(f"the checkpoint holds {what}, which Flambeau does not support")

    return refused


REFUSED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_sparse_tensor"): _refuse("a sparse tensor"),
    ("torch._utils", "_rebuild_qtensor"): _refuse("a quantized tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _refuse("a nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _refuse("a tensor on the meta device"),
    ("torch._utils", "_rebuild_wrapper_subclass"): _refuse("a wrapped tensor subclass"),
}
DATA: dict[tuple[str, str], Any] = {
    ("torch", "Size"): Size,
    ("torch", "device"): device,
    ("torch", "Tensor"): Tensor,
    ("torch.nn.parameter", "Parameter"): Parameter,
    ("torch.storage", "UntypedStorage"): UntypedStorage,
    **{("torch", d.name): d for d in ALL},
    **{("torch", s.__name__): s for s in STORAGE_TYPES.values()},
}
FUNCTIONS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): pickling.rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): pickling.rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): pickling.rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter_with_state,
    ("torch._tensor", "_rebuild_from_type_v2"): pickling.rebuild_from_type_v2,
    ("torch.serialization", "_get_layout"): get_layout,
}
_ALIASES = {
    ("torch", "UntypedStorage"): UntypedStorage,
    ("torch.tensor", "_rebuild_from_type_v2"): pickling.rebuild_from_type_v2,
}
KNOWN = DATA | FUNCTIONS | REFUSED | _ALIASES
_TRUSTED_ONLY = {("torch.storage", "_load_from_bytes"): load_from_bytes}
_NAME_OF = {id(found): name for name, found in (DATA | FUNCTIONS | _TRUSTED_ONLY).items()}
_PACKAGES = (("flambeau.vision", "torchvision"), ("flambeau", "torch"))
# Where PyTorch shows classes that live deeper here.
_SHOWN_IN = {
    "torch.optim.lr_scheduler": "torch.optim.lr_scheduler",
    "torch.optim.adafactor": "torch.optim",
    "torch.optim.muon": "torch.optim",
}
_FUNCTION_HOMES = ("flambeau.nn.functional", "flambeau")


def torch_name(obj: Any, name: str | None = None) -> tuple[str, str] | None:
    """Module and name that PyTorch would write for a class, function or dtype of this house; None for any other."""
    found = _NAME_OF.get(id(obj))
    if found is not None:
        return found
    module = getattr(obj, "__module__", None)
    name = name or getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module.partition(".")[0] != "flambeau":
        return None
    if isinstance(obj, types.FunctionType):
        function = obj.__name__
        # An op lives in its family's file, and may come out of a factory: users know it by a public name.
        for home in _FUNCTION_HOMES:
            if getattr(importlib.import_module(home), function, None) is obj:
                return _mapped(home), function
    home = _mapped(module)
    for ours, theirs in _SHOWN_IN.items():
        if home == ours or home.startswith(ours + "."):
            home = theirs
    return home, name


def _mapped(module: str) -> str:
    for ours, theirs in _PACKAGES:
        if module == ours or module.startswith(ours + "."):
            return theirs + module[len(ours) :]
    return module


def resolve(module: str, name: str) -> Any:
    """The object of this house for a name that PyTorch wrote; AttributeError where there is none.

    `torch.nn.modules.linear.Linear` is looked for in the module of that path, then in the packages above it.
    """
    if (module, name) in KNOWN:
        return KNOWN[module, name]
    if (module, name) in _TRUSTED_ONLY:
        return _TRUSTED_ONLY[module, name]
    if (module, name) == ("torch._C", "_VariableFunctionsClass"):  # what PyTorch's own functions are attributes of
        return importlib.import_module("flambeau")
    for ours, theirs in _PACKAGES:
        if module == theirs or module.startswith(theirs + "."):
            parts = (ours + module[len(theirs) :]).split(".")
            homes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
            for home in (*homes, *_FUNCTION_HOMES):
                found = _attribute(home, name)
                if found is not None:
                    return found
    raise AttributeError(f"Flambeau has no {module}.{name}, which the checkpoint names")


def _attribute(module: str, name: str) -> Any:
    try:
        # Only what the module has, not what its __getattr__ would make up.
        found: Any = vars(importlib.import_module(module))
    except ModuleNotFoundError:
        return None
    first, *rest = name.split(".")
    found = found.get(first)
    for part in rest:
        found = getattr(found, part, None)
    return found


def is_torch(module: str) -> bool:
    """Whether a module path belongs to PyTorch or torchvision."""
    return module.partition(".")[0] in ("torch", "torchvision")
