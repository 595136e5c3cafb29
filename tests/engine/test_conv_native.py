"""Convolutions as kernels against the NumPy references: every pass, over geometry, strides, dtypes and edge values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.engine.graph import Call
from flambeau.engine.kernel import search
from flambeau.engine.kernel.conv import choose
from flambeau.engine.kernel.emit import Emitter
from flambeau.engine.runtime import codegen
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.nn.conv import conv_transpose_op, convolution_op, input_gradient_op, weight_gradient_op
from flambeau.ops.nn.conv_kernels import Window
from tests.engine.harness import Bench, metas_of, native, reference
from tests.engine.targets import TARGETS, calls


def window(n, stride=1, padding=0, dilation=1, groups=1):
    def each(v):
        return (v,) * n if isinstance(v, int) else tuple(v)

    pairs = tuple((p, p) if isinstance(p, int) else p for p in each(padding))
    return Window(each(stride), pairs, each(dilation), groups)


def compare(op, *inputs, **params):
    """Native results equal the reference's to rounding, and one another's to the bit whatever the number of threads."""
    (wanted,) = reference(op, *inputs, **params)
    (found,) = native(op, *inputs, **params)
    (shared,) = native(op, *inputs, threads=2, **params)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == shared.tobytes()
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    digits = {2: 2e-2, 4: 1e-5, 8: 1e-13}[inputs[0].dtype.itemsize]
    scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
    np.testing.assert_allclose(found, wanted, rtol=4 * digits, atol=4 * digits * scale)


def passes(x_shape, w_shape, win, dtype=torch.float32):
    """All passes over tensors of these shapes."""
    x, w, b = (torch.randn(s).to(dtype) for s in (x_shape, w_shape, w_shape[:1]))
    out = win.out_size(tuple(x_shape[2:]), tuple(w_shape[2:]))
    g = torch.randn(x_shape[0], w_shape[0], *out).to(dtype)
    compare(convolution_op, x, w, b, window=win)
    compare(input_gradient_op, g, w, shape=tuple(x_shape), window=win)
    compare(weight_gradient_op, g, x, shape=tuple(w_shape), window=win)


SHAPES = [
    # LeNet
    ((4, 3, 32, 32), (6, 3, 5, 5), window(2)),
    ((4, 6, 14, 14), (16, 6, 5, 5), window(2)),
    ((4, 16, 5, 5), (120, 16, 5, 5), window(2)),
    # ResNet
    ((2, 64, 32, 32), (64, 64, 3, 3), window(2, padding=1)),
    ((2, 64, 32, 32), (128, 64, 3, 3), window(2, stride=2, padding=1)),
    ((2, 64, 16, 16), (128, 64, 1, 1), window(2, stride=2)),
    ((5, 96, 4, 4), (64, 96, 3, 3), window(2, padding=1)),
    ((1, 3, 40, 40), (16, 3, 7, 7), window(2, stride=2, padding=3)),
    # small images, whose taps outside are left out
    ((13, 32, 4, 4), (64, 32, 3, 3), window(2, padding=1)),
    ((17, 40, 3, 5), (48, 40, 3, 3), window(2, 2, 1)),
    ((16, 32, 2, 2), (32, 32, 5, 3), window(2, padding=(3, 1))),
    ((32, 16, 1, 1), (32, 16, 3, 3), window(2, padding=2)),
    # a single small image by columns
    ((1, 64, 4, 4), (96, 64, 3, 3), window(2, padding=1)),
    ((1, 66, 7, 9), (130, 33, 3, 2), window(2, 2, (1, 0), 1, 2)),
    # depthwise and grouped
    ((3, 32, 7, 9), (32, 1, 3, 3), window(2, padding=1, groups=32)),
    ((3, 32, 16, 16), (32, 1, 3, 3), window(2, stride=2, padding=1, groups=32)),
    ((2, 6, 9, 8), (12, 1, 3, 3), window(2, padding=1, groups=6)),
    ((2, 5, 33, 37), (5, 1, 5, 4), window(2, 2, (1, 2), (1, 2), 5)),
    ((3, 5, 40, 32), (5, 1, 3, 3), window(2, padding=((0, 2), (2, 1)), groups=5)),
    ((2, 3, 1, 1), (3, 1, 3, 3), window(2, padding=1, groups=3)),
    ((2, 4, 13, 70), (4, 1, 5, 3), window(2, (3, 2), (2, 0), groups=4)),
    ((2, 4, 11, 9), (4, 1, 2, 1), window(2, (4, 3), (0, 1), groups=4)),
    ((2, 3, 9, 33), (3, 1, 3, 5), window(2, (1, 4), ((2, 0), (1, 3)), groups=3)),
    ((2, 3, 50), (3, 1, 5), window(1, 2, 2, groups=3)),
    ((2, 8, 9, 11), (12, 4, 3, 2), window(2, (2, 1), (1, 2), (1, 2), 2)),
    ((2, 34, 6, 6), (68, 17, 3, 3), window(2, 2, 1, 1, 2)),
    # odd ones
    ((1, 5, 13, 40), (3, 5, 4, 7), window(2, 3, 2, 2)),
    ((1, 1, 1, 1), (1, 1, 1, 1), window(2)),
    ((7, 13, 1, 1), (11, 13, 1, 1), window(2)),
    ((1, 2, 6, 7), (19, 2, 3, 3), window(2, padding=((1, 0), (0, 3)))),
    ((2, 3, 17, 5), (4, 3, 3, 3), window(2, padding=((0, 2), (2, 0)), dilation=2)),
    ((1, 17, 3, 100), (2, 17, 2, 3), window(2)),
    ((2, 4, 5, 5), (4, 4, 1, 1), window(2, stride=3, padding=2)),
    # long rows
    ((1, 17, 31, 33), (40, 17, 1, 1), window(2)),
    ((1, 3, 2, 600), (4, 3, 1, 3), window(2, padding=(0, 1))),
    ((1, 3, 5, 5, 70), (3, 3, 1, 1, 1), window(3)),
    # one and three dimensions
    ((2, 3, 50), (4, 3, 5), window(1, 2, 2)),
    ((3, 24, 31), (40, 24, 3), window(1, padding=1)),
    ((2, 3, 5, 6, 7), (4, 3, 2, 3, 3), window(3, padding=1)),
    ((1, 16, 4, 5, 6), (17, 16, 3, 1, 2), window(3, (2, 1, 2), (1, 0, 1), (1, 1, 2))),
    # nothing
    ((0, 3, 5, 5), (4, 3, 3, 3), window(2)),
]


@pytest.mark.parametrize("x,w,win", SHAPES)
def test_passes(x, w, win):
    if x[0] == 0:
        b = torch.randn(w[0])
        compare(convolution_op, torch.randn(x), torch.randn(w), b, window=win)
        return
    passes(x, w, win)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "x,w,win", [SHAPES[1], SHAPES[8], SHAPES[12], SHAPES[13], SHAPES[15], SHAPES[18], SHAPES[19], SHAPES[30]]
)
def test_dtypes(x, w, win, dtype):
    passes(x, w, win, dtype)


@pytest.mark.parametrize(
    "x,w,win,extra",
    [
        ((2, 3, 4), (3, 2, 3), window(1, 2, 1), (1,)),
        ((1, 4, 3, 3), (4, 2, 2, 3), window(2, (1, 2), (0, 1), (2, 1), 2), (0, 0)),
        ((2, 64, 4, 4), (64, 32, 4, 4), window(2, 2, 1), (0, 0)),
        ((4, 100, 1, 1), (100, 64, 4, 4), window(2), (0, 0)),
        ((2, 32, 16, 16), (32, 3, 4, 4), window(2, 2, 1), (0, 0)),
        ((2, 5, 3, 3), (5, 4, 2, 2), window(2, 3), (2, 1)),
        ((2, 5, 6, 17), (5, 1, 4, 3), window(2, 2, 1, groups=5), (1, 0)),
        ((2, 3, 3, 3), (3, 1, 2, 2), window(2, 3, groups=3), (2, 1)),
        ((1, 3, 2, 3, 2), (3, 2, 2, 2, 3), window(3, 2, 1), (1, 1, 0)),
    ],
)
def test_transposed(x, w, win, extra):
    b = torch.randn(w[1] * win.groups)
    compare(conv_transpose_op, torch.randn(x), torch.randn(w), b, window=win, output_padding=extra)
    compare(conv_transpose_op, torch.randn(x), torch.randn(w), None, window=win, output_padding=extra)


def test_gradients_of_a_transposed_one_see_fewer_positions():
    g = torch.randn(2, 5, 3, 3)
    compare(input_gradient_op, g, torch.randn(5, 4, 2, 2), shape=(2, 4, 11, 11), window=window(2, 3))
    compare(weight_gradient_op, g, torch.randn(2, 4, 11, 11), shape=(5, 4, 2, 2), window=window(2, 3))


@pytest.mark.parametrize(
    "x,w,win", [SHAPES[1], SHAPES[8], SHAPES[12], SHAPES[15], SHAPES[18], ((2, 64, 6, 6), (64, 64, 1, 1), window(2))]
)
def test_layouts(x, w, win):
    out = win.out_size(x[2:], w[2:])

    def views(shape):
        yield torch.randn(shape).contiguous(memory_format=torch.channels_last)
        yield torch.randn(shape[0] + 1, shape[1] + 2, shape[2], shape[3] + 3)[1:, 1:-1, :, 2:-1]
        yield torch.randn(*shape[:2], shape[3], shape[2]).transpose(2, 3)
        yield torch.randn(shape[0], 1, shape[2], shape[3]).expand(*shape)

    for image in views(x):
        compare(convolution_op, image, torch.randn(w), None, window=win)
        compare(weight_gradient_op, torch.randn(x[0], w[0], *out), image, shape=w, window=win)
    for weights in views(w):
        compare(convolution_op, torch.randn(x), weights, torch.randn(2 * w[0])[::2], window=win)
    for g in views((x[0], w[0], *out)):
        compare(input_gradient_op, g, torch.randn(w), shape=x, window=win)
        compare(weight_gradient_op, g, torch.randn(x), shape=w, window=win)


@pytest.mark.parametrize("x,w,win", [SHAPES[0], SHAPES[1], SHAPES[4], SHAPES[8], SHAPES[12], SHAPES[13]])
def test_values_that_are_no_numbers_stay_where_they_belong(x, w, win):
    image, weights = torch.randn(x), torch.randn(w)
    image[0, 0, 2, 3], image[-1, -1, -1, -1], image[0, -1, 0, 0] = float("inf"), float("nan"), float("-inf")
    g = torch.randn(x[0], w[0], *win.out_size(x[2:], w[2:]))
    compare(convolution_op, image, weights, None, window=win)
    compare(weight_gradient_op, g, image, shape=w, window=win)
    g[0, 0, 1, 1], g[-1, -1, -1, -1] = float("inf"), float("nan")
    compare(input_gradient_op, g, weights, shape=x, window=win)
    compare(weight_gradient_op, g, torch.randn(x), shape=w, window=win)


# What Winograd's transforms compute: whole images and parts of them, odd sizes, margins of all kinds, strides by phases.
TRANSFORMED = [
    ((4, 32, 4, 4), (32, 32, 3, 3), window(2, padding=1)),
    ((6, 16, 8, 8), (48, 16, 3, 3), window(2, padding=1)),
    ((2, 32, 22, 32), (16, 32, 3, 3), window(2, padding=1)),
    ((3, 16, 7, 7), (32, 16, 3, 3), window(2, padding=1)),
    ((1, 16, 40, 70), (16, 16, 3, 3), window(2)),
    ((1, 16, 29, 33), (16, 16, 3, 3), window(2, padding=((2, 0), (0, 2)))),
    ((2, 16, 10, 6), (16, 16, 2, 3), window(2, padding=(1, 1))),
    ((2, 16, 9, 20), (16, 16, 2, 2), window(2)),
    ((5, 32, 8, 8), (16, 32, 4, 4), window(2, 2, 1)),
    ((2, 16, 36, 36), (32, 16, 4, 4), window(2, 2, (1, 2))),
    ((2, 16, 9, 12), (16, 16, 4, 6), window(2, 2, (0, 3))),
    ((1, 16, 30, 11), (16, 16, 3, 4), window(2, (1, 2), 1)),
]


WAYS = [
    {"as products": "False", "turned": "False"},
    {"as products": "False", "turned": "True"},
    {"as products": "True"},
]


@pytest.mark.parametrize("made", WAYS, ids=["straight", "turned", "products"])
def test_ways_to_the_weights_gradient_of_pointwise_ones(monkeypatch, made):
    monkeypatch.setattr(search, "lowered", lambda site, key, lower, scratch: lower(site, search.Choices(made)))
    for x, w in [((3, 24, 8, 8), (50, 24, 1, 1)), ((5, 70, 5, 7), (16, 70, 1, 1)), ((1, 1, 40, 30), (3, 1, 1, 1)),
                 ((40, 5, 1, 17), (7, 5, 1, 1)), ((2, 33, 1, 1), (19, 33, 1, 1))]:  # fmt: skip
        g, image = torch.randn(x[0], w[0], *x[2:]), torch.randn(x)
        compare(weight_gradient_op, g, image, shape=w, window=window(2))
        by_channel = torch.randn(x[1], x[0], *x[2:]).transpose(0, 1)
        compare(weight_gradient_op, g, by_channel, shape=w, window=window(2))
        g[-1, -1, 0, 0], image[0, 0, 0, -1] = torch.inf, torch.nan
        with np.errstate(invalid="ignore"):
            compare(weight_gradient_op, g, image, shape=w, window=window(2))


def test_planes_from_far_away_are_brought_near(monkeypatch):
    monkeypatch.setattr(choose, "FAR", 0)
    for x, w, win in [((2, 40, 8, 9), (13, 40, 1, 1), window(2)), ((2, 33, 10, 34), (5, 33, 1, 1), window(2, stride=2)),
                      ((1, 64, 3, 300), (4, 32, 1, 1), window(2, groups=2))]:  # fmt: skip
        image, weight = torch.randn(x), torch.randn(w)
        compare(convolution_op, image, weight, torch.randn(w[0]), window=win)
        metas = metas_of(convolution_op, (image, weight, None), {"window": win})
        bench = Bench((image, weight), metas)
        call = Call(
            convolution_op, (*(bench.operand(t, ()) for t in (image, weight)), None), {"window": win}, metas, (9,)
        )
        convolution_op.lower.function(bench, call)
        assert any("conv pixels" in k.key and k.key.endswith("True") for k, _, _ in bench.launches)


@pytest.fixture
def by_transforms(monkeypatch):
    """Winograd's transforms wherever they can be."""
    for name in ("winograd", "winograd_sums"):
        plan = getattr(choose, name)
        monkeypatch.setattr(choose, name, lambda *sizes, plan=plan: plan(*sizes)._replace(cost=0.0))


@pytest.mark.parametrize("x,w,win", TRANSFORMED)
def test_transforms(by_transforms, x, w, win):
    passes(x, w, win)
    g, bias = torch.randn(x[0], w[0], *win.out_size(x[2:], w[2:])), torch.randn(w[1])
    compare(conv_transpose_op, g, torch.randn(w), bias, window=win, output_padding=(0, 0))


def test_transforms_are_chosen_for_many_channels():
    x, w = torch.randn(2, 64, 32, 32), torch.randn(64, 64, 3, 3)
    inputs, params = (x, w, None), {"window": window(2, padding=1)}
    bench = Bench((x, w), metas_of(convolution_op, inputs, params))
    operands = tuple(bench.operand(i, inputs) for i in inputs)
    convolution_op.lower.function(bench, Call(convolution_op, operands, params, bench.metas, (2,)))
    assert any("by transforms" in note for _, _, note in bench.launches)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("x,w,win", [TRANSFORMED[1], TRANSFORMED[3], TRANSFORMED[8]])
def test_transforms_of_other_floats(by_transforms, x, w, win, dtype):
    passes(x, w, win, dtype)


@pytest.mark.parametrize("x,w,win", [TRANSFORMED[0], TRANSFORMED[2], TRANSFORMED[8]])
def test_transforms_leave_values_that_are_no_numbers_where_they_belong(by_transforms, x, w, win):
    image, weights = torch.randn(x), torch.randn(w)
    test_values_that_are_no_numbers_stay_where_they_belong(x, w, win)
    large = torch.zeros(x)
    large[0, 0, :3, :3] = 3e38  # the sum of two is none
    compare(convolution_op, large, weights / 1000, None, window=win)
    weights[3, 2, 1, 0], weights[5, 7, 0, 0] = float("inf"), float("nan")
    compare(convolution_op, image, weights, torch.randn(w[0]), window=win)
    weights[::2] = float("nan")
    compare(convolution_op, image, weights, torch.randn(w[0]), window=win)
    compare(convolution_op, image, torch.full(w, float("nan")), None, window=win)
    g = torch.randn(x[0], w[0], *win.out_size(x[2:], w[2:]))
    compare(input_gradient_op, g, torch.full(w, float("nan")), shape=x, window=win)
    compare(weight_gradient_op, g * float("nan"), image, shape=w, window=win)


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
@pytest.mark.parametrize("x,w,win", [TRANSFORMED[1], TRANSFORMED[8]])
def test_transforms_compile_for_other_machines(by_transforms, target, x, w, win):
    image, weights = torch.randn(x), torch.randn(w)
    g = torch.randn(x[0], w[0], *win.out_size(x[2:], w[2:]))
    for op, inputs, params in (
        (convolution_op, (image, weights, None), {}),
        (input_gradient_op, (g, weights), {"shape": x}),
        (weight_gradient_op, (g, image), {"shape": w}),
    ):
        params = {**params, "window": win}
        metas = metas_of(op, inputs, params)
        bench = Bench(inputs, metas)
        op.lower.function(bench, Call(op, tuple(bench.operand(i, inputs) for i in inputs), params, metas, (9,)))
        kernels = [kernel for kernel, _, _ in bench.launches if "winograd" in kernel.key]
        assert len(kernels) == 2
        for kernel in kernels:
            k = Emitter("kernel")
            kernel.emit(k)
            assert not calls(target, codegen.compile_for(*target[:3], k.text())), kernel.key


@pytest.mark.parametrize("x,w,win", [TRANSFORMED[2], TRANSFORMED[3]])
def test_transforms_with_epilogues(by_transforms, x, w, win):
    test_epilogues(x, w, win)


class AddAndClip:
    """An epilogue: max(x + other, 0), where `other` is as large as the result."""

    key = "add and clip"

    def __init__(self, other):
        self.args = (other,)

    def apply(self, k, x, flat, first_word, mask=None):
        other = k.pointer(first_word)
        added = k.load(other, flat, x.type) if mask is None else k.masked_load(other, flat, x.type, mask)
        total = k.add(x, added)
        return k.select(k.compare("gt", total, 0.0), total, 0.0)


@pytest.mark.parametrize(
    "x,w,win",
    [SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[3], SHAPES[8], SHAPES[9], SHAPES[12], SHAPES[13], SHAPES[15], SHAPES[24]],
)
def test_epilogues(x, w, win):
    x, w, b = torch.randn(x), torch.randn(w), torch.randn(w[0])
    (plain,) = reference(convolution_op, x, w, b, window=win)
    other = torch.randn(plain.shape)
    inputs, params = (x, w, b), {"window": win}
    metas = metas_of(convolution_op, inputs, params)
    bench = Bench((*inputs, other), metas, 3)
    bench.epilogue = AddAndClip(bench.source(bench.operand(other, ())))
    call = Call(convolution_op, tuple(bench.operand(i, inputs) for i in inputs), params, metas, (9,))
    convolution_op.lower.function(bench, call)
    wanted = np.maximum(plain + other._array(), 0)
    np.testing.assert_allclose(bench.results()[0], wanted, rtol=1e-4, atol=1e-4)


def test_other_types_are_left_to_the_reference():
    ones = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(Unsupported):
        native(convolution_op, ones, ones, None, window=window(2))


@st.composite
def geometries(draw):
    n = draw(st.sampled_from([1, 2, 2, 2, 3]))
    kernel = [draw(st.integers(1, 4)) for _ in range(n)]
    dilation = [draw(st.integers(1, 3)) for _ in range(n)]
    stride = [draw(st.integers(1, 3)) for _ in range(n)]
    padding = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(n)]
    size = [
        max(draw(st.integers(1, 20 if n < 3 else 6)), d * (k - 1) + 1 - lo - hi)
        for k, d, (lo, hi) in zip(kernel, dilation, padding)
    ]
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    inputs, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    x = (draw(st.integers(1, 5)), inputs * groups, *size)
    return x, (outputs * groups, inputs, *kernel), Window(tuple(stride), tuple(padding), tuple(dilation), groups)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(geometries())
def test_any_geometry(geometry):
    passes(*geometry)
