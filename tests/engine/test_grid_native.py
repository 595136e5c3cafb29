"""Affine grids and sampling at positions as kernels, beside their references."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import dtypes
from flambeau.nn import functional as F
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.everywhere import compiled, everywhere  # noqa: F401
from tests.engine.harness import native, reference
from tests.engine.test_move_native import strided

NARROW = [dtypes.float16, dtypes.bfloat16]


def floats(*shape: int, kind: Any = np.float32, low: float = -1.0, high: float = 1.0) -> Tensor:
    return from_array(np.random.default_rng([len(shape), *shape]).uniform(low, high, shape).astype(kind))


def compare(name: str, *inputs: Tensor, tolerance: float = 2e-6, **params: Any) -> np.ndarray:
    """One thread and three agree bit for bit, and both with the reference up to rounding."""
    one, many = (native(ops[name], *inputs, threads=n, **params)[0] for n in (1, 3))
    want = reference(ops[name], *inputs, **params)[0]
    assert one.tobytes() == many.tobytes() and one.dtype == want.dtype and one.shape == want.shape
    bound = {2: 1e-2, 4: tolerance, 8: 1e-12}[one.itemsize]
    wide = want.astype(float)
    scale = np.abs(wide[np.isfinite(wide)]).max(initial=1)
    np.testing.assert_allclose(one.astype(float), wide, bound, bound * scale)
    return one


# -- affine grids ----------------------------------------------------------------------------------------------

SIZES = [(1, 1), (3, 4), (28, 28), (7, 131), (200, 100), (1, 33), (2, 3, 4), (1, 1, 1), (5, 6, 40)]


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_affine_grid_and_its_gradient(size: tuple[int, ...], aligned: bool) -> None:
    dims, how = len(size), {"size": size, "align_corners": aligned}
    theta, g = floats(2, dims, dims + 1), floats(2, *size, dims)
    for layout in range(3):
        compare("affine_grid_generator", strided(theta, layout), **how)
        compare("affine_grid_generator_backward", strided(g, layout), tolerance=1e-5, **how)


@pytest.mark.parametrize("kind", [dtypes.float64, *NARROW], ids=lambda d: d.name)
def test_affine_grids_of_other_dtypes(kind: Any) -> None:
    for size in ((9, 21), (2, 3, 9)):
        dims, how = len(size), {"size": size, "align_corners": False}
        compare("affine_grid_generator", floats(3, dims, dims + 1, kind=kind.np), **how)
        compare("affine_grid_generator_backward", floats(3, *size, dims, kind=kind.np), **how)
    compare("affine_grid_generator", floats(0, 2, 3, kind=kind.np), size=(3, 4), align_corners=True)
    compare("affine_grid_generator_backward", floats(1, 3, 4, 2, kind=kind.np).expand(5, 3, 4, 2), size=(3, 4), align_corners=True)  # fmt: skip


# -- samples ---------------------------------------------------------------------------------------------------

PADDINGS = ("zeros", "border", "reflection")
HOW = [
    (mode, padding, aligned) for mode in ("bilinear", "nearest", "bicubic") for padding in PADDINGS
    for aligned in (False, True)
]  # fmt: skip


def sampled(x: Tensor, at: Tensor, orders: tuple[int, ...], mode: str, padding: str, aligned: bool) -> None:
    """The samples, and what goes back to the pixels and to the positions."""
    how = {"orders": orders, "mode": mode, "padding": padding, "align_corners": aligned}
    y = compare("grid_sampler", x, at, tolerance=1e-5, **how)
    g = floats(*y.shape, kind=y.dtype)
    compare("grid_sampler_backward", g, at, tolerance=1e-5, size=x.shape[2:], **how)
    compare("grid_sampler_slopes", g, x, at, tolerance=1e-5, **how)


@pytest.mark.parametrize(("mode", "padding", "aligned"), HOW)
def test_samples_of_images(mode: str, padding: str, aligned: bool) -> None:
    x, at = floats(2, 3, 9, 7), floats(2, 5, 11, 2, low=-4, high=12)
    for orders in ((0, 0), (1, 0), (0, 2)):
        sampled(x, at, orders, mode, padding, aligned)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_samples_of_volumes(mode: str) -> None:
    x, at = floats(2, 3, 4, 5, 6), floats(2, 3, 2, 7, 3, low=-1, high=6)
    for orders in ((0, 0, 0), (0, 1, 0)):
        sampled(x, at, orders, mode, "zeros", False)


@pytest.mark.parametrize(
    ("image", "points"),
    [((1, 1), (1, 1)), ((1, 1), (40, 3)), ((2, 33), (0, 3)), ((64, 64), (70, 71)), ((3, 1), (1, 16))], ids=str,
)  # fmt: skip
def test_sizes(image: tuple[int, int], points: tuple[int, int]) -> None:
    for mode in ("bilinear", "bicubic"):
        sampled(floats(1, 9, *image), floats(1, *points, 2, low=-1, high=max(image)), (0, 0), mode, "zeros", False)
    sampled(floats(3, 0, *image), floats(3, *points, 2), (0, 0), "nearest", "zeros", True)


@pytest.mark.parametrize("kind", [dtypes.float64, *NARROW], ids=lambda d: d.name)
def test_samples_of_other_dtypes(kind: Any) -> None:
    x, at = floats(2, 3, 9, 7, kind=kind.np), floats(2, 5, 11, 2, kind=kind.np, low=-2, high=9)
    for mode in ("bilinear", "bicubic"):
        sampled(x, at, (0, 0), mode, "reflection", False)


def test_samples_of_windows() -> None:
    x, at = floats(2, 3, 9, 7), floats(2, 5, 11, 2, low=-2, high=9)
    channels_last = from_array(np.ascontiguousarray(x._array().transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)
    for image in (channels_last, x.flip(3)[:, :, 1::2], floats(1, 3, 9, 7).expand(2, 3, 9, 7), x.permute(0, 1, 3, 2)):
        for places in (at, strided(at, 1), strided(at, 2), floats(1, 5, 11, 2).expand(2, 5, 11, 2)):
            sampled(image, places, (0, 0), "bilinear", "zeros", False)


def test_positions_and_pixels_that_are_no_numbers() -> None:
    x, at = floats(1, 2, 5, 6), floats(1, 4, 9, 2, low=-2, high=7)
    at[0, 0, :5] = from_array(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)).reshape(5, 1)
    at[0, 1] = at[0, 1].round()  # on pixels: what their neighbours hold does not matter
    x[0, 0, 2, 3], x[0, 1, 4, 5], x[0, 1, 0, 0] = np.nan, np.inf, -np.inf
    for padding in PADDINGS:
        for mode in ("bilinear", "nearest", "bicubic"):
            with np.errstate(invalid="ignore"):
                sampled(x, at, (0, 0), mode, padding, False)
    how = {"orders": (0, 0), "mode": "bilinear", "padding": "zeros", "align_corners": False}
    g = floats(1, 2, 4, 9)
    g[0, 0, 1, 3], g[0, 1, 0, 1] = np.inf, np.nan
    found = compare("grid_sampler_backward", g, at, size=(5, 6), **how)
    assert np.isfinite(found[0, 1]).all()  # the gradient of a sample from outside goes nowhere


def test_a_spatial_transformer_in_every_mode() -> None:
    """Grids, samples and their gradients; positions mirrored at the border end no segment."""

    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        images = torch.randn(3, 2, 8, 9)
        theta = torch.tensor([[1.2, 0.3, 0.1], [-0.2, 0.9, -0.3]]).repeat(3, 1, 1).requires_grad_()
        for _ in range(4):
            x = images.clone().requires_grad_()
            grid = F.affine_grid(theta, (3, 2, 6, 7), align_corners=False)
            loss = sum(F.grid_sample(x, grid, padding_mode=how, align_corners=False).square().sum() for how in PADDINGS)
            loss.backward()
            yield loss.detach().numpy()
            yield x.grad.numpy().copy()
            yield theta.grad.numpy().copy()
            theta.grad = None

    everywhere(program, 1e-4)
