"""`nn.functional` against definitions written out in NumPy, and what in-place use and odd sizes do to it."""

from __future__ import annotations

import doctest
import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau.nn import functional as F
from flambeau.ops.nn import conv_kernels
from flambeau.ops.op import names

FLOATS = (fl.float16, fl.bfloat16, fl.float32, fl.float64)


def random(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(found: Any, expected: Any, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


# -- the facade ------------------------------------------------------------------------------------------------


def test_the_facade_lists_what_the_registry_has() -> None:
    assert set(F.__all__) == set(names["F"])
    assert all(getattr(F, name) is function for name, function in names["F"].items())


@pytest.mark.parametrize("name", sorted(names["F"]))
def test_every_function_is_documented_and_its_examples_run(name: str) -> None:
    function = names["F"][name]
    assert function.__doc__, f"{name} has no docstring"
    examples = doctest.DocTestFinder(recurse=False).find(function, name, globs={**vars(fl), **names["F"]})
    for example in examples:
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
        assert result.failed == 0


# -- convolution -----------------------------------------------------------------------------------------------


def direct_convolution(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int, groups: int
) -> np.ndarray:
    """The definition, one output number after the other."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    (n, _, height, width), (outs, ins, kh, kw) = x.shape, w.shape
    oh = (height - dilation * (kh - 1) - 1) // stride + 1
    ow = (width - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((n, outs, oh, ow))
    for o, i, j in itertools.product(range(outs), range(oh), range(ow)):
        group = slice(o // (outs // groups) * ins, (o // (outs // groups) + 1) * ins)
        rows = slice(i * stride, i * stride + dilation * (kh - 1) + 1, dilation)
        columns = slice(j * stride, j * stride + dilation * (kw - 1) + 1, dilation)
        y[:, o, i, j] = (x[:, group, rows, columns] * w[o]).sum((1, 2, 3))
    return y


CONVOLUTIONS = list(itertools.product((1, 2), (0, 1), (1, 2), (1, 2, 4)))


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CONVOLUTIONS)
@pytest.mark.parametrize("columns", [1, conv_kernels.COLUMN_ELEMENTS], ids=["image by image", "many at once"])
def test_convolution_is_its_definition(
    stride: int, padding: int, dilation: int, groups: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(conv_kernels, "COLUMN_ELEMENTS", columns)
    x, w = random(3, 4, 9, 8), random(4, 4 // groups, 3, 2, seed=1)
    found = F.conv2d(fl.from_numpy(x), fl.from_numpy(w), None, stride, padding, dilation, groups)
    close(found, direct_convolution(x, w, stride, padding, dilation, groups))


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_gradients_of_convolution_are_its_transposes(stride: int, padding: int, dilation: int, groups: int) -> None:
    """<conv(x, w), g> is linear in x and in w: its gradients give the same number back."""
    x = fl.from_numpy(random(3, 4, 9, 8)).requires_grad_()
    w = fl.from_numpy(random(8, 4 // groups, 3, 2, seed=1)).requires_grad_()
    y = F.conv2d(x, w, None, stride, padding, dilation, groups)
    total = (y * fl.from_numpy(random(*y.shape, seed=2))).sum()
    total.backward()
    for operand in (x, w):
        assert math.isclose(float((operand * operand.grad).sum()), float(total), rel_tol=1e-10)


def test_a_transposed_convolution_is_the_gradient_of_a_convolution() -> None:
    x = fl.from_numpy(random(2, 3, 9, 9)).requires_grad_()
    w = fl.from_numpy(random(4, 3, 3, 3, seed=1))
    y = F.conv2d(x, w, stride=2, padding=1)
    g = fl.from_numpy(random(*y.shape, seed=2))
    y.backward(g)
    close(F.conv_transpose2d(g, w, stride=2, padding=1), x.grad.numpy())


def test_same_padding_keeps_the_size_for_every_kernel() -> None:
    for kernel, dilation in itertools.product(range(1, 6), (1, 2)):
        y = F.conv1d(fl.ones(1, 1, 11), fl.ones(1, 1, kernel), padding="same", dilation=dilation)
        assert y.shape == (1, 1, 11)


def test_channels_last_images_give_channels_last_results() -> None:
    x = fl.randn(2, 5, 6, 3).permute(0, 3, 1, 2)
    for y in (F.conv2d(x, fl.randn(4, 3, 3, 3)), F.max_pool2d(x, 2), F.avg_pool2d(x, 2)):
        assert y.is_contiguous(memory_format=fl.channels_last) and not y.is_contiguous()


@pytest.mark.parametrize("dtype", FLOATS)
def test_narrow_types_round_once(dtype: Any) -> None:
    x, w = fl.randn(2, 3, 6, 6).to(dtype), fl.randn(4, 3, 3, 3).to(dtype)
    y = F.conv2d(x, w)
    assert y.dtype is dtype
    wide = F.conv2d(x.double(), w.double()).to(dtype)
    eps = fl.finfo(dtype).eps
    np.testing.assert_allclose(
        y.double().numpy(), wide.double().numpy(), rtol=2 * eps, atol=40 * fl.finfo(fl.float32).eps
    )


# -- pooling ---------------------------------------------------------------------------------------------------


def windows_of(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[list[int]]:
    found, start = [], -padding
    while True:
        reach = start + dilation * (kernel - 1)
        fits = reach < n + padding
        if not fits and not (ceil_mode and start < n and reach - (n + padding) + 1 < stride):
            return found
        found.append([i for i in range(start, reach + 1, dilation) if 0 <= i < n])
        start += stride


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 0, 2), (2, 3, 1, 1)]
)
def test_max_pool_is_its_definition(kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> None:
    x = random(2, 3, 10)
    y, index = F.max_pool1d(fl.from_numpy(x), kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    windows = windows_of(10, kernel, stride, padding, dilation, ceil_mode)
    expected = np.stack([np.array(w)[x[..., w].argmax(-1)] for w in windows], -1)
    assert np.array_equal(index.numpy(), expected)
    close(y, np.take_along_axis(x, expected, -1))


def test_adaptive_pools_are_their_definition() -> None:
    x = random(2, 3, 7, 10)
    for out in ((3, 4), (7, 10), (1, 1), (9, 3)):
        bounds = [
            [(i * n // o, -(-(i + 1) * n // o)) for i in range(o)] for n, o in zip(x.shape[2:], out)
        ]  # fmt: skip
        for function, reduce in ((F.adaptive_avg_pool2d, np.mean), (F.adaptive_max_pool2d, np.max)):
            expected = [[reduce(x[:, :, a:b, c:d], (2, 3)) for c, d in bounds[1]] for a, b in bounds[0]]
            close(function(fl.from_numpy(x), out), np.moveaxis(np.array(expected), (2, 3), (0, 1)))


def test_unpooling_puts_maxima_back() -> None:
    x = fl.from_numpy(random(2, 3, 6, 6))
    y, index = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, index, 2)
    assert float((back != 0).sum()) == y.numel()
    close(back[back != 0].sum(), float(y.sum()))


# -- memory ----------------------------------------------------------------------------------------------------


def test_results_may_be_overwritten_where_pytorch_allows_it() -> None:
    """conv -> batch_norm -> relu_ and max_pool -> relu_: the usual in-place networks."""
    w = fl.from_numpy(random(4, 3, 3, 3)).requires_grad_()
    x = fl.from_numpy(random(2, 3, 8, 8, seed=1))

    def network(inplace: bool) -> Any:
        h = F.relu(F.batch_norm(F.conv2d(x, w), None, None, training=True), inplace=inplace)
        h = F.relu(F.max_pool2d(h, 2) - 0.5, inplace=inplace)
        return F.dropout(F.hardtanh(h * 2, inplace=inplace), 0.0, inplace=inplace).square().sum()

    (plain,) = fl.autograd.grad(network(False), w)
    (overwritten,) = fl.autograd.grad(network(True), w)
    assert fl.equal(plain, overwritten)


def test_weights_overwritten_before_backward_are_noticed() -> None:
    x, w = fl.randn(1, 1, 4, 4, requires_grad=True), fl.randn(1, 1, 2, 2, requires_grad=True)
    y = F.conv2d(x, w).sum()
    with fl.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_inplace_activations_return_the_same_tensor() -> None:
    for function in (F.relu, F.relu6, F.elu, F.selu, F.celu, F.leaky_relu, F.silu, F.mish, F.hardtanh, F.hardswish,
                     F.hardsigmoid, F.rrelu, F.dropout):  # fmt: skip
        x = fl.randn(5)
        expected = None if function is F.dropout else function(x)
        y = function(x, inplace=True)
        assert y is x
        if expected is not None:
            assert fl.equal(x, expected)


def test_empty_batches() -> None:
    x = fl.zeros(0, 3, 8, 8, requires_grad=True)
    w = fl.randn(4, 3, 3, 3, requires_grad=True)
    y = F.adaptive_avg_pool2d(F.max_pool2d(F.relu(F.conv2d(x, w)), 2), 1).flatten(1)
    loss = F.cross_entropy(y, fl.zeros(0, dtype=fl.int64), reduction="sum")
    loss.backward()
    assert x.grad.shape == x.shape and float(w.grad.abs().sum()) == 0.0


# -- normalisation ---------------------------------------------------------------------------------------------


def test_batch_norm_moves_its_running_statistics() -> None:
    x = random(8, 3, 5)
    mean, var = fl.zeros(3, dtype=fl.float64), fl.ones(3, dtype=fl.float64)
    y = F.batch_norm(fl.from_numpy(x), mean, var, training=True, momentum=0.25)
    close(mean, 0.25 * x.mean((0, 2)))
    close(var, 0.75 + 0.25 * x.var((0, 2), ddof=1))
    close(y, (x - x.mean((0, 2))[:, None]) / np.sqrt(x.var((0, 2))[:, None] + 1e-5), rtol=1e-9)


def test_normalisations_of_large_values_lose_no_digits() -> None:
    x = (random(4, 1000) + 1000.0).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    close(F.layer_norm(fl.from_numpy(x), (1000,)), expected, rtol=1e-3, atol=2e-4)


# -- losses ----------------------------------------------------------------------------------------------------


def test_cross_entropy_of_extreme_logits_is_finite() -> None:
    x = fl.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]], requires_grad=True)
    loss = F.cross_entropy(x, fl.tensor([0, 0]))
    loss.backward()
    assert float(loss) == 1000.0
    assert x.grad.tolist() == [[0.0, 0.0], [-0.5, 0.5]]


def test_cross_entropy_of_one_hot_probabilities_is_that_of_indices() -> None:
    x, target = fl.from_numpy(random(6, 5, 3)), fl.from_numpy(np.random.default_rng(0).integers(0, 5, (6, 3)))
    weight = fl.from_numpy(np.random.default_rng(1).random(5) + 0.5)
    probabilities = F.one_hot(target, 5).movedim(-1, 1).double()
    for smoothing in (0.0, 0.3):
        for reduction in ("sum", "none"):
            how = {"reduction": reduction, "label_smoothing": smoothing}
            close(F.cross_entropy(x, target, weight, **how), F.cross_entropy(x, probabilities, weight, **how).numpy())


def brute_force_ctc(p: np.ndarray, target: list[int]) -> float:
    """The probability of `target` summed over every path of classes."""
    steps, classes = p.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != 0] == target:
            total += math.prod(p[t, c] for t, c in enumerate(path))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("target", [[1], [1, 2], [1, 1], [2, 1, 2], []])
def test_ctc_loss_sums_over_all_alignments(target: list[int]) -> None:
    log_p = F.log_softmax(fl.from_numpy(random(5, 3)), 1)
    found = F.ctc_loss(log_p.unsqueeze(1), fl.tensor([target or [0]]), (5,), (len(target),), reduction="sum")
    assert math.isclose(float(found), brute_force_ctc(log_p.exp().numpy(), target), rel_tol=1e-10)


def test_ctc_gradients_are_those_of_the_logits() -> None:
    x = random(5, 2, 3)

    def loss(values: np.ndarray) -> Any:
        leaf = fl.from_numpy(values).requires_grad_()
        return leaf, F.ctc_loss(F.log_softmax(leaf, 2), fl.tensor([[1, 2], [2, 0]]), (5, 4), (2, 1), reduction="sum")

    leaf, value = loss(x.copy())
    value.backward()
    for place in [(0, 0, 0), (2, 1, 2), (3, 0, 1), (4, 1, 1)]:
        up, down = x.copy(), x.copy()
        up[place] += 1e-6
        down[place] -= 1e-6
        slope = (float(loss(up)[1]) - float(loss(down)[1])) / 2e-6
        assert math.isclose(float(leaf.grad[place]), slope, rel_tol=1e-5, abs_tol=1e-8)


def test_warnings_of_sizes_and_old_arguments() -> None:
    with pytest.warns(UserWarning, match="Using a target size"):
        F.mse_loss(fl.ones(3, 1), fl.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert F.mse_loss(fl.ones(4), fl.zeros(4), size_average=False) == 4.0
        assert F.mse_loss(fl.ones(4), fl.zeros(4), reduce=False).shape == (4,)


# -- tables and attention --------------------------------------------------------------------------------------


def test_gradients_of_a_table_add_up_over_repeated_rows() -> None:
    table = fl.zeros(4, 2, requires_grad=True)
    F.embedding(fl.tensor([1, 1, 3, 1]), table, padding_idx=3).sum().backward()
    assert table.grad.tolist() == [[0, 0], [3, 3], [0, 0], [0, 0]]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_its_definition(causal: bool) -> None:
    q, k, v = (random(2, 3, n, 4, seed=n) for n in (5, 6, 6))
    scores = q @ k.swapaxes(-1, -2) / 2.0
    if causal:
        scores = np.where(np.tri(5, 6, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    close(F.scaled_dot_product_attention(*map(fl.from_numpy, (q, k, v)), is_causal=causal), weights @ v)


def test_rows_that_may_see_nothing_are_zero_and_have_no_gradient() -> None:
    q = fl.randn(1, 2, 4, requires_grad=True)
    mask = fl.tensor([[True, True], [False, False]])
    y = F.scaled_dot_product_attention(q, fl.randn(1, 2, 4), fl.randn(1, 2, 4), attn_mask=mask)
    y.sum().backward()
    assert float(y[0, 1].abs().sum()) == 0.0
    assert bool(q.grad.isfinite().all()) and float(q.grad[0, 1].abs().sum()) == 0.0


def test_steps_of_a_recurrent_layer_are_its_cell() -> None:
    for layer, cell in ((fl.nn.LSTM, fl.nn.LSTMCell), (fl.nn.GRU, fl.nn.GRUCell), (fl.nn.RNN, fl.nn.RNNCell)):
        whole, step = layer(3, 4), cell(3, 4)
        step.load_state_dict({name.replace("_l0", ""): p for name, p in whole.state_dict().items()})
        x = fl.randn(6, 2, 3)
        out, _ = whole(x)
        state = None
        for t in range(6):
            state = step(x[t], state)
            h = state[0] if isinstance(state, tuple) else state
            close(out[t], h.detach().numpy(), rtol=1e-5, atol=1e-6)
