"""The choice of layouts: which images lie channel by channel, which stay, and that results are the same bits."""

from __future__ import annotations

import cProfile
from typing import Any

import numpy as np
import pytest

from flambeau.engine.graph import Call, Graph
from flambeau.engine.plan import Plan
from flambeau.engine.schedule import planner
from flambeau.engine.schedule.layouts import channel_major, laid_out
from flambeau.ops.nn.conv_kernels import Window
from flambeau.ops.nn.normalize import _batch_form
from flambeau.ops.op import ops
from flambeau.shape import is_contiguous
from tests.engine.planned import Recording, Ref

random = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def window(kernel: int = 3, stride: int = 1, groups: int = 1, n: int = 2) -> Window:
    return Window((stride,) * n, ((kernel // 2,) * 2,) * n, (1,) * n, groups)


class Network:
    """Layers over a recording, whose inputs are made first: the weights in order of use."""

    def __init__(self, image: tuple, *weights: tuple, dtype: Any = np.float32) -> None:
        self.g = Recording()
        self.x = self.g.input(floats(*image).astype(dtype))
        self.weights = [self.g.input((0.2 * floats(*shape)).astype(dtype)) for shape in weights]

    def convolution(self, x: Ref, w: Ref, how: Window) -> Ref:
        return self.g.call(ops["convolution"], x, w, None, window=how)

    def norm(self, x: Ref) -> list[Ref]:
        return self.g.call(ops["standardize"], x, None, None, None, None, form=_batch_form(x.shape), eps=1e-5)

    def norm_back(self, grad: Ref, x: Ref, made: list[Ref]) -> Ref:
        how = {"form": _batch_form(x.shape), "fixed": False, "needs": (True, False, False)}
        return self.g.call(ops["standardize_backward"], grad, x, None, made[1], made[3], **how)[0]

    def relu(self, x: Ref) -> Ref:
        return self.g.call(ops["relu"], x)

    def relu_back(self, grad: Ref, y: Ref) -> Ref:
        return self.g.call(ops["masked_fill"], grad, self.g.call(ops["le"], y, 0.0), 0.0)

    def convolution_back(self, grad: Ref, x: Ref, w: Ref, how: Window) -> tuple[Ref, Ref]:
        return (
            self.g.call(ops["conv_input_gradient"], grad, w, shape=x.shape, window=how),
            self.g.call(ops["conv_weight_gradient"], grad, x, shape=w.shape, window=how),
        )


def step(
    image: tuple, first: tuple, second: tuple, hows: tuple[Window, Window], dtype: Any = np.float32
) -> tuple[Recording, list[Ref], list[Ref]]:
    """Two convolutions with norms, there and back; what is wanted, and the images in between."""
    net = Network(image, first, second, dtype=dtype)
    a = net.convolution(net.x, net.weights[0], hows[0])
    normal = net.norm(a)
    b = net.relu(normal[0])
    c = net.convolution(b, net.weights[1], hows[1])
    after = net.norm(c)
    y = net.relu(after[0])
    back = net.norm_back(net.relu_back(y, y), c, after)
    gb, gw = net.convolution_back(back, b, net.weights[1], hows[1])
    ga = net.norm_back(net.relu_back(gb, b), a, normal)
    _, gv = net.convolution_back(ga, net.x, net.weights[0], hows[0])
    total = net.g.call(ops["sum"], y, dim=None, keepdim=False, dtype=None)
    return net.g, [gv, gw, total], [a, normal[0], b, c, after[0], back, gb, ga]


STEPS: dict[str, Any] = {
    "plain": ((4, 3, 8, 8), (16, 3, 3, 3), (20, 16, 3, 3), (window(), window())),
    "by transforms": ((3, 16, 8, 8), (32, 16, 3, 3), (32, 32, 3, 3), (window(), window())),
    "strided": ((4, 3, 9, 9), (24, 3, 3, 3), (16, 24, 3, 3), (window(), window(stride=2))),
    "pointwise": ((5, 6, 4, 4), (40, 6, 1, 1), (18, 40, 1, 1), (window(1), window(1))),
    "depthwise": ((4, 6, 20, 20), (24, 6, 1, 1), (24, 1, 3, 3), (window(1), window(groups=24))),
    "small depthwise": ((4, 6, 4, 4), (24, 6, 1, 1), (24, 1, 3, 3), (window(1), window(groups=24))),
    "grouped": ((4, 6, 7, 7), (24, 3, 3, 3), (16, 6, 3, 3), (window(groups=2), window(groups=4))),
    "along a line": ((4, 3, 33), (16, 3, 3), (8, 16, 3), (window(n=1), window(n=1))),
    "in space": ((2, 2, 4, 5, 6), (4, 2, 3, 3, 3), (8, 4, 3, 3, 3), (window(n=3), window(n=3))),
}  # fmt: skip


def strides_in(graph: Graph) -> dict[int, tuple]:
    calls = [s for s in graph.steps if isinstance(s, Call)]
    return {n: m.layout for call in calls for n, m in zip(call.outputs, call.metas)}


@pytest.mark.parametrize("name", STEPS)
def test_images_between_norms_lie_channel_by_channel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    g, wanted, images = step(*STEPS[name])
    strides = strides_in(laid_out(g.graph(*wanted)))
    for image in images:
        assert strides[image.value] == channel_major(image.shape, 4)
    assert all(is_contiguous(r.shape, strides[r.value]) for r in wanted)
    g.check(*wanted, rtol=1e-3, atol=1e-3)
    chosen = g.run(*wanted)
    monkeypatch.setattr(planner, "laid_out", lambda graph: graph)
    for with_choice, without in zip(chosen, g.run(*wanted), strict=True):
        np.testing.assert_array_equal(with_choice, without)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("name", ["plain", "by transforms", "pointwise", "depthwise"])
def test_other_dtypes(name: str, dtype: Any) -> None:
    g, wanted, images = step(*STEPS[name], dtype=dtype)
    strides = strides_in(laid_out(g.graph(*wanted)))
    assert all(strides[image.value] == channel_major(image.shape, np.dtype(dtype).itemsize) for image in images)
    total = wanted[-1]  # gradients of halves are small beside their rounding
    g.check(*(wanted if dtype is np.float64 else [total]), rtol=1e-3, atol=1e-3)


def test_what_others_see_stays_row_major() -> None:
    net = Network((4, 3, 8, 8), (16, 3, 3, 3))
    a = net.convolution(net.x, net.weights[0], window())
    normal = net.norm(a)
    y = net.relu(normal[0])
    pooled = net.g.call(ops["amax"], y.view((4, 16, 64)), dim=(2,), keepdim=False)
    z = net.relu(net.relu(a))
    part = net.g.call(ops["sum"], Ref(z.value, (4, 8, 8), z.strides[:1] + z.strides[2:], 64, z.dtype), dim=None,
                      keepdim=False, dtype=None)  # fmt: skip
    wanted = [normal[0], pooled, part]
    strides = strides_in(laid_out(net.g.graph(*wanted)))
    assert not is_contiguous(a.shape, strides[a.value])
    for stays in (normal[0], y, z):  # wanted; seen in another shape; seen in part
        assert is_contiguous(stays.shape, strides[stays.value])
    net.g.check(*wanted, rtol=1e-3, atol=1e-3)


def test_images_that_are_written_in_place_stay_row_major() -> None:
    net = Network((4, 3, 8, 8), (16, 3, 3, 3))
    a = net.convolution(net.x, net.weights[0], window())
    y = net.norm(a)[0]
    written = net.g.write(y, net.relu(y)).view(y.shape)
    again = net.norm(written)[0]
    last = net.g.call(ops["tanh"], again)
    strides = strides_in(laid_out(net.g.graph(last)))
    assert is_contiguous(y.shape, strides[y.value])
    assert not is_contiguous(a.shape, strides[a.value])
    net.g.check(last, rtol=1e-3, atol=1e-3)


def test_networks_without_norms_and_single_images_stay_as_they_are() -> None:
    net = Network((4, 3, 8, 8), (16, 3, 3, 3), (8, 16, 3, 3))
    y = net.convolution(net.relu(net.convolution(net.x, net.weights[0], window())), net.weights[1], window())
    graph = net.g.graph(y)
    assert laid_out(graph) is graph
    net = Network((1, 3, 8, 8), (16, 3, 3, 3), (8, 16, 3, 3))
    y = net.convolution(net.norm(net.convolution(net.x, net.weights[0], window()))[0], net.weights[1], window())
    graph = net.g.graph(y)
    assert laid_out(graph) is graph


def test_elementwise_work_still_ends_a_convolution() -> None:
    net = Network((4, 3, 8, 8), (16, 3, 3, 3), (16, 16, 3, 3))
    a = net.relu(net.convolution(net.x, net.weights[0], window()))
    y = net.g.call(ops["add"], a, net.norm(net.convolution(a, net.weights[1], window()))[0])
    last = net.g.call(ops["sum"], y, dim=(1, 2), keepdim=False, dtype=None)
    assert not is_contiguous(a.shape, strides_in(laid_out(net.g.graph(last)))[a.value])
    made: Plan = net.g.check(last, rtol=1e-3, atol=1e-3)
    assert any("convolution" in s.note and "relu" in s.note for s in made.steps)  # type: ignore[union-attr]


def test_channels_keep_apart_in_the_first_cache() -> None:
    for shape in ((32, 64, 32, 32), (32, 96, 8, 8), (3, 5, 7, 7), (2, 3, 1, 2)):
        strides = channel_major(shape, 4)
        assert strides[1] >= shape[0] * strides[0]
        assert strides[1] * 4 % 128 == 64


def test_the_choice_takes_linear_time() -> None:
    def calls(depth: int) -> int:
        net = Network((2, 4, 4, 4), (4, 4, 3, 3))
        y = net.x
        for _ in range(depth):
            y = net.relu(net.norm(net.convolution(y, net.weights[0], window()))[0])
        graph, profile = net.g.graph(y), cProfile.Profile()
        profile.runcall(laid_out, graph)
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(160) < 9 * calls(20)
