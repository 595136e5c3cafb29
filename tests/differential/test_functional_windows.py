"""Convolutions, pools, resampling and padding beside PyTorch's, with windows of every kind drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.differential.beside import LIBRARIES

Draw = random.Random


def each(draw: Draw, n: int, low: int, high: int) -> list[int]:
    return [draw.randint(low, high) for _ in range(n)]


def spatial(draw: Draw, n: int) -> list[int]:
    return each(draw, n, 4, (0, 30, 14, 7)[n])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def conv(draw: Draw, n: int, transposed: bool) -> tuple[Callable, list[Any]]:
    groups = draw.choice([1, 1, 2, 3])
    ins, outs, batch = groups * draw.randint(1, 3), groups * draw.randint(1, 3), draw.choice([1, 2, 5])
    kernel, stride, padding, dilation = (each(draw, n, *r) for r in ((1, 4), (1, 3), (0, 2), (1, 2)))
    extra = [[draw.randint(0, 2) for _ in range(n)]] if transposed else []
    rest = [stride, padding, *extra, *([groups, dilation] if transposed else [dilation, groups])]
    name = f"conv_transpose{n}d" if transposed else f"conv{n}d"
    weight = (ins, outs // groups) if transposed else (outs, ins // groups)
    arrays = [normal(0, batch, ins, *spatial(draw, n)), normal(1, *weight, *kernel)]
    arrays.append(normal(2, outs) if draw.random() < 0.5 else None)
    return lambda F, x, w, b: getattr(F, name)(x, w, b, *rest), arrays


def pool(draw: Draw, n: int, kind: str) -> tuple[Callable, list[Any]]:
    kernel, stride = each(draw, n, 1, 4), each(draw, n, 1, 3)
    padding, dilation = [draw.randint(0, k // 2) for k in kernel], each(draw, n, 1, 2)
    ceil_mode, include = draw.random() < 0.5, draw.random() < 0.5
    arrays = [normal(0, draw.choice([1, 3]), 2, *spatial(draw, n))]
    if kind == "max":
        return lambda F, x: getattr(F, f"max_pool{n}d")(x, kernel, stride, padding, dilation, ceil_mode), arrays
    return lambda F, x: getattr(F, f"avg_pool{n}d")(x, kernel, stride, padding, ceil_mode, include), arrays


def adaptive(draw: Draw, n: int, kind: str) -> tuple[Callable, list[Any]]:
    size = each(draw, n, 1, 9)
    return lambda F, x: getattr(F, f"adaptive_{kind}_pool{n}d")(x, size), [normal(0, 2, 2, *spatial(draw, n))]


def resample(draw: Draw, n: int, by_factor: bool) -> tuple[Callable, list[Any]]:
    smooth = (["linear"], ["bilinear", "bicubic"], ["trilinear"])[n - 1]
    mode = draw.choice(["nearest", "nearest-exact", "area", *smooth, *smooth])
    how: dict[str, Any] = {"mode": mode, "align_corners": draw.random() < 0.5 if mode in smooth else None}
    if by_factor:
        how["scale_factor"] = [draw.choice([0.5, 0.7, 1.3, 2.0, 2.6]) for _ in range(n)]
    else:
        how["size"] = each(draw, n, 1, 9)
    return lambda F, x: F.interpolate(x, **how), [normal(0, 2, 2, *spatial(draw, n))]


def antialiased(draw: Draw, _n: int) -> tuple[Callable, list[Any]]:
    # PyTorch's results one pixel wide are not those that its own gradients belong to
    size, mode = each(draw, 2, 2, 9), draw.choice(["bilinear", "bicubic"])
    return lambda F, x: F.interpolate(x, size, mode=mode, antialias=True), [normal(0, 2, 2, *spatial(draw, 2))]


def of_bytes(draw: Draw, _n: int) -> tuple[Callable, list[Any]]:
    size, antialias = each(draw, 2, 2, 40), draw.random() < 0.5
    how: dict[str, Any] = {"mode": draw.choice(["bilinear", "bicubic", "nearest"])}
    if how["mode"] != "nearest":
        how |= {"antialias": antialias, "align_corners": not antialias and draw.random() < 0.5}
    image = (np.random.default_rng(draw.randint(0, 99)).random((1, 3, *each(draw, 2, 4, 30))) * 256).astype(np.uint8)
    return lambda F, x: F.interpolate(x, size, **how), [image]


def padding(draw: Draw, n: int) -> tuple[Callable, list[Any]]:
    amounts, mode = each(draw, 2 * n, -1, 3), draw.choice(["constant", "reflect", "replicate", "circular"])
    return lambda F, x: F.pad(x, amounts, mode), [normal(0, 2, 2, *spatial(draw, n))]


def sliding(draw: Draw, _n: int) -> tuple[Callable, list[Any]]:
    arguments = [each(draw, 2, *r) for r in ((1, 3), (1, 2), (0, 2), (1, 3))]
    return lambda F, x: F.unfold(x, *arguments), [normal(0, 2, 2, *spatial(draw, 2))]


def sampled(draw: Draw, _n: int) -> tuple[Callable, list[Any]]:
    how = draw.choice(["bilinear", "nearest", "bicubic"]), draw.choice(["zeros", "border", "reflection"])
    aligned = draw.random() < 0.5
    arrays = [normal(0, 2, 2, *spatial(draw, 2)), normal(1, 2, 3, 4, 2)]
    return lambda F, x, grid: F.grid_sample(x, grid, *how, aligned), arrays


KINDS: dict[str, Callable[[Draw, int], tuple[Callable, list[Any]]]] = {
    "conv": lambda draw, n: conv(draw, n, False), "conv_transpose": lambda draw, n: conv(draw, n, True),
    "max_pool": lambda draw, n: pool(draw, n, "max"), "avg_pool": lambda draw, n: pool(draw, n, "avg"),
    "adaptive_avg": lambda draw, n: adaptive(draw, n, "avg"), "adaptive_max": lambda draw, n: adaptive(draw, n, "max"),
    "size": lambda draw, n: resample(draw, n, False), "factor": lambda draw, n: resample(draw, n, True),
    "antialias": antialiased, "bytes": of_bytes, "pad": padding, "unfold": sliding, "grid_sample": sampled,
}  # fmt: skip


def run(lib: Any, call: Callable, arrays: list[Any]) -> list[Any]:
    leaves = [None if a is None else lib.from_numpy(a.copy()) for a in arrays]
    if arrays[0].dtype == np.uint8:
        return [call(lib.nn.functional, *leaves).numpy()]
    for leaf in leaves:
        if leaf is not None:
            leaf.requires_grad_()
    y = call(lib.nn.functional, *leaves)
    y.backward(lib.from_numpy(normal(9, *y.shape)))
    return [y.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves if leaf is not None and leaf.grad is not None]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", list(KINDS))
def test_windows_of_every_kind(kind: str, seed: int) -> None:
    draw = random.Random(f"{kind} {seed}")
    refused = 0
    for _ in range(8):
        call, arrays = KINDS[kind](draw, draw.choice([1, 2, 2, 3]))
        try:
            expected = run(LIBRARIES[1], call, arrays)
        except Exception as theirs:
            refused += 1
            with pytest.raises(type(theirs)) as mine:
                run(LIBRARIES[0], call, arrays)
            assert str(mine.value) == str(theirs)
            continue
        for a, b in zip(run(LIBRARIES[0], call, arrays), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert refused < 8
