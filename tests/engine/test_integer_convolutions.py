"""Native convolutions of integers beside NumPy's: every dtype wraps around; dimensions, strides, gaps, groups, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.nn.conv import conv_transpose_op, convolution_op
from flambeau.ops.nn.conv_kernels import Window
from flambeau.tensors import Tensor, from_array
from tests.engine.everywhere import everywhere
from tests.engine.harness import native, reference

DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.int64]


def make(*shape: int, dtype: Any = np.int32) -> Tensor:
    info = np.iinfo(dtype)
    return from_array(np.random.default_rng(sum(shape)).integers(info.min, info.max, shape, dtype, endpoint=True))


def check(op: Any, *inputs: Any, **params: Any) -> None:
    (want,) = reference(op, *inputs, **params)
    for threads in (1, 3):
        (got,) = native(op, *inputs, threads=threads, **params)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def window(n: int, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1) -> Window:
    pairs = tuple(
        (p, p) if isinstance(p, int) else p for p in (padding if isinstance(padding, tuple) else (padding,) * n)
    )
    return Window((stride,) * n, pairs, (dilation,) * n, groups)


CASES = [  # input, kernel, output channels, window
    ((2, 3, 7), (3,), 4, window(1, padding=1)),
    ((1, 2, 100), (5,), 3, window(1, 2, 3, 2)),
    ((2, 3, 9, 37), (3, 2), 5, window(2, padding=((1, 0), (0, 2)))),
    ((2, 4, 8, 8), (1, 1), 6, window(2)),
    ((1, 1, 1, 1), (1, 1), 1, window(2)),
    ((3, 4, 7, 9), (3, 3), 8, window(2, 2, 1, groups=4)),
    ((2, 6, 11, 13), (2, 3), 4, window(2, 3, 2, 2, groups=2)),
    ((1, 5, 4, 4), (1, 1), 2, window(2, 3)),
    ((1, 1, 2, 2), (2, 2), 1, window(2, 9, 5)),
    ((1, 2, 10, 11), (2, 2), 3, window(2, 4, 1)),  # no window reaches the last pixels
    ((1, 1, 2, 2), (1, 1), 1, window(2, 9, ((5, 0), (5, 0)))),  # nor any pixel
    ((1, 2, 5, 4, 6), (2, 3, 2), 3, window(3, padding=1)),
    ((2, 2, 6, 5, 5), (3, 2, 2), 4, window(3, 2, 1, groups=2)),
]


@pytest.mark.parametrize("shape, kernel, outputs, how", CASES, ids=str)
def test_convolutions(shape: tuple[int, ...], kernel: tuple[int, ...], outputs: int, how: Window) -> None:
    for dtype in (np.int8, np.int64):
        x, w = make(*shape, dtype=dtype), make(outputs, shape[1] // how.groups, *kernel, dtype=dtype)
        check(convolution_op, x, w, make(outputs, dtype=dtype), window=how)
        check(convolution_op, x, w, None, window=how)


@pytest.mark.parametrize("shape, kernel, outputs, how", CASES[:-3] + CASES[-2:], ids=str)
def test_transposed_convolutions(shape: tuple[int, ...], kernel: tuple[int, ...], outputs: int, how: Window) -> None:
    """With gaps between windows, some pixels only get the bias."""
    for dtype in (np.uint8, np.int32):
        out = how.out_size(shape[2:], kernel)
        x, w = make(shape[0], outputs, *out, dtype=dtype), make(outputs, shape[1] // how.groups, *kernel, dtype=dtype)
        for bias in (None, make(shape[1], dtype=dtype)):
            for extra in range(min(how.stride[0], 2)):
                check(conv_transpose_op, x, w, bias, window=how, output_padding=(extra,) * len(kernel))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_dtypes(dtype: Any) -> None:
    check(convolution_op, make(2, 3, 9, 70, dtype=dtype), make(4, 3, 3, 3, dtype=dtype), make(4, dtype=dtype),
          window=window(2, padding=1))  # fmt: skip


def test_windows_of_memory() -> None:
    x, w, b = make(2, 3, 9, 12), make(4, 3, 3, 2), make(8)[::2]
    for seen in (x.flip(3), x.transpose(2, 3), x[:, :, ::2], x[:1].expand(3, 3, 9, 12)):
        check(convolution_op, seen, w, b, window=window(2, padding=1))
        check(convolution_op, seen, w.transpose(2, 3), b, window=window(2))
    last = x.to(memory_format=torch.channels_last)
    check(convolution_op, last, w, b, window=window(2, padding=1))
    check(conv_transpose_op, last, make(3, 2, 2, 3), None, window=window(2, 2), output_padding=(0, 0))


def test_nothing() -> None:
    w = make(4, 3, 2, 2)
    check(convolution_op, make(0, 3, 5, 5), w, None, window=window(2))
    with pytest.raises(Unsupported):
        native(convolution_op, make(1, 0, 5, 5), make(4, 0, 2, 2), None, window=window(2))


def test_in_every_mode() -> None:
    def program() -> Any:
        image = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
        sharp = torch.tensor([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]).expand(3, 1, 3, 3)
        for _ in range(4):
            image = torch.nn.functional.conv2d(image, sharp, padding=1, groups=3).clamp(0, 255) + 1
            yield image.numpy().copy()

    everywhere(program, 0)
