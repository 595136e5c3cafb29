"""`torch.types`: names for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from flambeau.devices import device as _device_type
from flambeau.dtypes import dtype as _dtype_type
from flambeau.shape import Size as _Size
from flambeau.tensors import Tensor

Number = int | float | bool
_int, _float, _bool, _complex = int, float, bool, complex
_size = _Size | list[int] | tuple[int, ...]
_dtype, Device, _device = _dtype_type, _device_type | str | int | None, _device_type
_TensorOrTensors = Tensor | Sequence[Tensor]
FileLike = str | os.PathLike | Any
Storage = Any
