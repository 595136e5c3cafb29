"""Flambeau: a deep-learning framework with PyTorch's API. `import flambeau as torch`.

This file spells the public names, nothing else. Functions on tensors come from the op registry; submodules that a
program may never use are imported when they are asked for.
"""

# ruff: noqa: F401
from __future__ import annotations

from flambeau import _startup

# isort: split
import importlib as _importlib
import math as _math
from typing import Any as _Any

from flambeau import (
    amp,
    autograd,
    backends,
    cuda,
    fft,
    jit,
    linalg,
    nn,
    optim,
    random,
    special,
    storage,
    types,
    version,
)
from flambeau import methods as _methods
from flambeau import ops as functional
from flambeau._version import __version__ as flambeau_version
from flambeau.amp import GradScaler, autocast, get_autocast_dtype, is_autocast_available, is_autocast_enabled
from flambeau.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from flambeau.compat.einops import watch as _watch_einops
from flambeau.compat.watching import when_imported as _when_imported
from flambeau.compiler import compile
from flambeau.devices import device
from flambeau.dtypes import (
    bfloat16,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    short,
    uint8,
)
from flambeau.dtypes import bool_ as bool
from flambeau.dtypes import float_ as float
from flambeau.dtypes import int_ as int
from flambeau.func import vmap
from flambeau.inquiry import (
    _assert,
    _check,
    _check_index,
    _check_type,
    _check_value,
    broadcast_shapes,
    can_cast,
    detach,
    get_device,
    is_complex,
    is_conj,
    is_floating_point,
    is_inference,
    is_neg,
    is_same_size,
    is_signed,
    is_storage,
    is_tensor,
    numel,
    promote_types,
    result_type,
    sparse_coo_tensor,
    sparse_csr_tensor,
    typename,
)
from flambeau.methods.dlpack import from_dlpack, to_dlpack
from flambeau.methods.legacy import typed as _typed
from flambeau.methods.structure import (
    Layout as layout,
)
from flambeau.methods.structure import (
    MemoryFormat as memory_format,
)
from flambeau.methods.structure import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    preserve_format,
    sparse_coo,
    sparse_csr,
    strided,
)
from flambeau.ops import return_types
from flambeau.ops.op import names as _names
from flambeau.printing import set_printoptions
from flambeau.random import Generator, default_generator
from flambeau.settings import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_default_dtype,
    get_deterministic_debug_mode,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    is_deterministic_algorithms_warn_only_enabled,
    is_warn_always_enabled,
    set_default_device,
    set_default_dtype,
    set_default_tensor_type,
    set_deterministic_debug_mode,
    set_float32_matmul_precision,
    set_flush_denormal,
    set_num_interop_threads,
    set_num_threads,
    set_warn_always,
    use_deterministic_algorithms,
)
from flambeau.shape import Size
from flambeau.storage import STORAGE_TYPES as _STORAGE_TYPES
from flambeau.storage import TypedStorage, UntypedStorage
from flambeau.tensors import Tensor
from flambeau.version import __version__

pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None
globals().update(_names["torch"])
globals().update(_typed)  # FloatTensor, LongTensor ...
globals().update({kind.__name__: kind for kind in _STORAGE_TYPES.values()})  # FloatStorage ...

_watch_einops()
# Python's own multiprocessing shares tensors from then on, too.
_when_imported("multiprocessing", lambda _: _importlib.import_module("flambeau.multiprocessing"))

# Imported when first asked for: rarely used, or slow to import.
_LATER = (
    "accelerator", "compat", "compiler", "distributed", "distributions", "export", "func", "fx", "hub", "mps",
    "multiprocessing", "onnx", "profiler", "safetensors", "serialization", "testing", "utils", "vision", "xpu",
)  # fmt: skip
_FUNCTIONS_LATER = {"load": "serialization", "save": "serialization"}


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return _importlib.import_module(f"flambeau.{name}")
    if name in _FUNCTIONS_LATER:
        globals()[name] = found = getattr(_importlib.import_module(f"flambeau.{_FUNCTIONS_LATER[name]}"), name)
        return found
    raise AttributeError(f"module 'torch' has no attribute '{name}' in Flambeau (see docs/differences.md)")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FUNCTIONS_LATER})


_startup.done()
