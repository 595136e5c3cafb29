"""Comparing what two libraries made, and moving it from one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import flambeau
from flambeau.tensors import Tensor

LIBRARIES = (flambeau, torch)


def numpy_of(t: Any) -> np.ndarray:
    return np.asarray(t.detach().float().tolist() if str(t.dtype).endswith("bfloat16") else t.detach().numpy())


def assert_state_close(mine: Any, theirs: Any, rtol: float = 3e-6, where: str = "") -> None:
    """The same keys in the same order, types, dtypes and (nearly) numbers, however deep."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(mine, Tensor), where
        assert str(mine.dtype) == str(theirs.dtype), where
        assert tuple(mine.shape) == tuple(theirs.shape), where
        np.testing.assert_allclose(numpy_of(mine), numpy_of(theirs), rtol=rtol, atol=2e-7, err_msg=where)
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs), where
        for key in theirs:
            assert_state_close(mine[key], theirs[key], rtol, f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(mine) is type(theirs) and len(mine) == len(theirs), where
        for i, (a, b) in enumerate(zip(mine, theirs)):
            assert_state_close(a, b, rtol, f"{where}[{i}]")
    else:
        assert mine == theirs, where


def to_lib(value: Any, lib: Any) -> Any:
    if isinstance(value, (torch.Tensor, Tensor)):
        return lib.tensor(value.detach().tolist(), dtype=getattr(lib, str(value.dtype).split(".")[1]))
    if isinstance(value, dict):
        return {k: to_lib(v, lib) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_lib(v, lib) for v in value)
    return value
