"""Write golden.json: how PyTorch prints many small tensors. Run it where PyTorch is; the tests need only the file."""

from __future__ import annotations

import base64
import itertools
import json
import random
from pathlib import Path

import numpy as np
import torch

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
COMPLEX = (torch.complex64, torch.complex128)
SHAPES = ((), (0,), (0, 3), (2, 0), (1,), (4,), (17,), (2, 3), (1, 1, 2), (3, 2, 2), (2, 1, 2, 2), (40,), (12, 12))
FEW_SHAPES = ((), (0,), (4,), (2, 3))  # for the dtypes that print as another one does
ALIKE = (torch.int32, torch.int16, torch.uint8, torch.complex128)
SCALES = (1.0, 1e-6, 1e-3, 100.0, 1e5, 1e9, 1e30)
OPTIONS = (
    {},
    {"precision": 2},
    {"precision": 8, "linewidth": 40},
    {"threshold": 5, "edgeitems": 1},
    {"threshold": 10, "edgeitems": 2, "linewidth": 200},
    {"threshold": 0, "edgeitems": 0},
    {"sci_mode": True},
    {"sci_mode": False},
    {"profile": "short"},
    {"profile": "full"},
)


def real_numbers(rng: np.random.Generator, pick: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(rng.standard_normal(shape) * pick.choice(SCALES))
    if pick.random() < 0.3:
        values = np.floor(values)
    for special in (np.nan, np.inf, -np.inf, 0.0, -0.0):
        if pick.random() < 0.2:
            values = np.where(rng.random(shape) < 0.2, special, values)
    return values


def numbers(dtype: torch.dtype, rng: np.random.Generator, pick: random.Random, shape: tuple[int, ...]) -> torch.Tensor:
    if dtype in INTEGERS:
        info = torch.iinfo(dtype)
        low, high = pick.choice([(0, 5), (info.min, info.max), (max(info.min, -7), 100)])
        return torch.tensor(rng.integers(low, high, shape, endpoint=True)).to(dtype)
    if dtype is torch.bool:
        return torch.tensor(rng.random(shape) < 0.5)
    real = torch.tensor(real_numbers(rng, pick, shape))
    if dtype in COMPLEX:
        return torch.complex(real, torch.tensor(real_numbers(rng, pick, shape))).to(dtype)
    return real.to(dtype)


def raw_bytes(tensor: torch.Tensor) -> str:
    flat = tensor.detach().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return base64.b64encode(data).decode()


def case(tensor: torch.Tensor, options: dict, default: torch.dtype = torch.float32) -> dict:
    torch.set_printoptions(**{"profile": "default"} | options)
    torch.set_default_dtype(default)
    text = repr(tensor)
    torch.set_default_dtype(torch.float32)
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "data": raw_bytes(tensor),
        "requires_grad": tensor.requires_grad,
        "options": options,
        "default": str(default).removeprefix("torch."),
        "text": text,
    }


def cases() -> list[dict]:
    rng, pick = np.random.default_rng(0), random.Random(0)
    found = []
    for dtype, shape in itertools.product((*FLOATS, *INTEGERS, torch.bool, *COMPLEX), SHAPES):
        if dtype in ALIKE and shape not in FEW_SHAPES:
            continue
        for options in ({}, pick.choice(OPTIONS)):
            tensor = numbers(dtype, rng, pick, shape)
            if dtype.is_floating_point and pick.random() < 0.3:
                tensor.requires_grad_()
            found.append(case(tensor, options, pick.choice((torch.float32, torch.float32, torch.float64))))
    found += [case(numbers(d, rng, pick, (1003,)), {}) for d in (torch.float32, torch.int64, torch.complex64)]
    found += [case(numbers(d, rng, pick, (9, 8, 15)), {}) for d in (torch.float64, torch.bool)]
    return found


if __name__ == "__main__":
    path = Path(__file__).with_name("golden.json")
    path.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases()) + "\n]\n")
