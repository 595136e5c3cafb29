"""Derivatives: how ops record history, and how backward walks it. No formulas: those stand in `ops`."""

import importlib as _importlib
from typing import Any as _Any

from flambeau.autograd import functional, graph
from flambeau.autograd import mode as grad_mode
from flambeau.autograd.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from flambeau.autograd.function import Function, NestedIOFunction, once_differentiable
from flambeau.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from flambeau.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from flambeau.autograd.variable import Variable
from flambeau.autograd.walk import backward, grad

__all__ = [
    "Function", "GradcheckError", "NestedIOFunction", "Variable", "backward", "detect_anomaly", "enable_grad",
    "functional", "grad", "grad_mode",
    "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable",
    "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in ("profiler", "profiler_util"):  # imported when first asked for
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
