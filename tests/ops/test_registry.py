"""Every op of the registry over its own samples: shape rule, layouts, dtypes, first and second derivatives.

The numeric differences are the test's own, so that they check the derivatives and the backward walk alike. An op that
has a derivative must bring samples (or be named in `COVERED_BY` with the op whose second derivative runs through it).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.autograd.walk import grad
from flambeau.dtypes import FLOAT, bfloat16, bool_, dtype, float16, float32, float64, int64
from flambeau.ops.op import Op, names, ops
from flambeau.ops.rules import Result, elementwise
from flambeau.ops.samples import Call, unary_on
from flambeau.tensors import Tensor, from_array

NAMES = sorted(ops)
RULES = {elementwise(r, to_float): (r, to_float) for r in Result for to_float in (False, True)}
RULES[elementwise()] = (Result.SAME, False)
for _result in Result:  # `elementwise` keeps one rule for each way it is called
    RULES[elementwise(_result)] = (_result, False)
for _op in ops.values():  # rules that refuse some dtypes and are elementwise otherwise
    if hasattr(_op.meta, "elementwise"):
        RULES[_op.meta] = (_op.meta.elementwise, False)
ELEMENTWISE = [n for n in NAMES if ops[n].meta in RULES]

# ops that only run inside another one's derivative: checked by that one's second derivative (`x_backward` by `x`)
COVERED_BY = {
    "embed": "slice", "pool_scatter": "max_pool", "pool_gather": "max_pool", "alias": "view", "unsafe_view": "view",
}  # fmt: skip
# ops that draw random numbers: their derivatives are tested with fixed draws in tests/random and tests/nn
RANDOM = {
    "normal", "uniform", "exponential", "cauchy", "log_normal", "geometric", "bernoulli", "random_from_to",
    "random_all_int64", "random", "randperm", "bernoulli_each", "poisson", "binomial", "standard_gamma", "dirichlet",
    "drawn_from", "multinomial", "fill",
}  # fmt: skip

# ops whose further outputs are kept for their derivative and never seen: how many are seen
SEEN = {"standardize": 1, "cross_entropy": 1, "scaled_dot_product_attention": 1, "rnn_layer": 3}


def maker(seed: str) -> Callable[..., Tensor]:
    """The `t` of `ops.samples`: random tensors, the same for the same op."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))

    def t(*shape: int, low: float = -2.0, high: float = 2.0, dtype: dtype = float64) -> Tensor:
        if dtype.category < FLOAT:
            return from_array(np.asarray(rng.integers(int(low), int(high), shape)).astype(dtype.np))
        values = rng.uniform(low, high, shape)
        if dtype.is_complex:
            values = values + 1j * rng.uniform(low, high, shape)
        return from_array(np.asarray(values).astype(dtype.np))

    return t


def samples_of(op: Op) -> list[Call]:
    return list(op.samples(maker(op.name))) if op.samples is not None else []


def outputs(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def rebuilt(call: Call, change: Callable[[np.ndarray], Tensor]) -> list[Any]:
    return [change(x._array()) if isinstance(x, Tensor) else x for x in call.inputs]


def is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype.category >= FLOAT


# -- every op --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if ops[n].vjp is not None])
def test_an_op_with_a_derivative_has_samples(name: str) -> None:
    if name in RANDOM:
        return
    forward = name.removesuffix("_backward")
    if name in COVERED_BY or (forward != name and forward in ops and not samples_of(ops[name])):
        cover = ops[COVERED_BY.get(name, forward)]
        assert cover.smooth and samples_of(cover), f"{cover.name} covers {name} and has no smooth samples"
        return
    assert samples_of(ops[name]), f"give op {name!r} samples"


@pytest.mark.parametrize("name", [n for n in NAMES if ops[n].meta is not None and ops[n].samples is not None])
def test_the_shape_rule_says_what_the_reference_gives(name: str) -> None:
    op = ops[name]
    for call in samples_of(op):
        metas = op.meta(*call.inputs, **call.params)
        metas = metas if op.multiple else (metas,)
        arrays = [x._array() if isinstance(x, Tensor) else x for x in call.inputs]
        with np.errstate(all="ignore"):
            results = op.ref(*arrays, **call.params)
        for meta, raw, out in zip(
            metas, results if op.multiple else (results,), outputs(op(*call.inputs, **call.params)), strict=True
        ):
            assert np.shape(raw) == meta.shape == out._shape
            assert out.dtype is meta.dtype
            kind = np.asarray(raw).dtype.kind
            if meta.dtype.is_complex or meta.dtype.category < FLOAT:
                assert (kind == "c") == meta.dtype.is_complex, f"the reference gives {np.asarray(raw).dtype}"
            assert meta.strides is None or len(meta.strides) == len(meta.shape)


def _gapped(x: np.ndarray) -> Tensor:
    """The same elements in transposed memory with gaps between them."""
    wide = np.zeros([2 * n for n in reversed(x.shape)], x.dtype)
    gapped = wide[(*(slice(1, None, 2) for _ in x.shape), ...)].transpose()
    gapped[...] = x
    return from_array(gapped)


@pytest.mark.parametrize("name", [n for n in NAMES if ops[n].samples is not None])
def test_layout_of_the_inputs_does_not_matter(name: str) -> None:
    op = ops[name]
    for call in samples_of(op):
        if op.layout is not None and name in ("view", "unsafe_view", "as_strided"):
            continue  # about memory itself
        plain = outputs(op(*call.inputs, **call.params))
        gapped = outputs(op(*rebuilt(call, _gapped), **call.params))
        for a, b in zip(plain, gapped, strict=True):
            assert a.dtype is b.dtype and a._shape == b._shape
            np.testing.assert_allclose(b._array(), a._array(), rtol=1e-12, atol=1e-13)


# -- derivatives -----------------------------------------------------------------------------------------------


def _differentiable(name: str) -> bool:
    op = ops[name]
    return op.vjp is not None and op.smooth and op.samples is not None and name not in RANDOM


def _floats(op: Op, result: Any) -> list[Tensor]:
    """The outputs that users see and that have derivatives."""
    return [r for r in outputs(result)[: SEEN.get(op.name)] if r.dtype.category >= FLOAT]


def _weighted_sum(op: Op, result: Any, weights: list[np.ndarray]) -> float:
    total = 0.0
    for r, w in zip(_floats(op, result), weights, strict=True):
        total += float(np.sum((np.conj(w) * r._array()).real))
    return total


def _weights_for(op: Op, result: Any, rng: np.random.Generator) -> list[np.ndarray]:
    drawn = []
    for r in _floats(op, result):
        w = rng.uniform(0.5, 1.5, r._shape)
        drawn.append(np.asarray(w + 1j * rng.uniform(0.5, 1.5, r._shape) if r.dtype.is_complex else w))
    return drawn


def _numeric(f: Callable[[list[Any]], float], inputs: list[Any], which: int, step: float) -> np.ndarray:
    """Central differences of a number with respect to one input (for complex ones: d/dre + i d/dim)."""
    x = inputs[which]._array()
    slopes = np.zeros(x.shape, x.dtype)
    for at in np.ndindex(*x.shape):
        for unit in (1, 1j) if x.dtype.kind == "c" else (1,):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[at] += sign * step * unit
                ends.append(f([*inputs[:which], from_array(moved), *inputs[which + 1 :]]))
            slopes[at] += unit * (ends[0] - ends[1]) / (2 * step)
    return slopes


def _gradients(
    op: Op, inputs: list[Any], params: dict, weights: list[np.ndarray], create_graph: bool = False
) -> tuple[list[int], list[Tensor], list[Tensor | None]]:
    """The gradients of the weighted outputs: which inputs, those inputs as leaves, and their gradients."""
    which = [i for i, x in enumerate(inputs) if is_float(x)]
    leaves = [inputs[i].detach().requires_grad_() for i in which]
    full = list(inputs)
    for i, leaf in zip(which, leaves):
        full[i] = leaf
    results = _floats(op, op(*full, **params))
    pairs = [(r, from_array(w)) for r, w in zip(results, weights, strict=True) if r.requires_grad]
    assert pairs, f"no output of {op.name} requires grad"
    found = grad(
        [r for r, _ in pairs], leaves, [w for _, w in pairs], create_graph=create_graph, allow_unused=True
    )
    return which, leaves, list(found)


def _has_rule(op: Op, i: int, found: Tensor | None) -> bool:
    """Whether the op claims a derivative for an input: class weights and targets have none in PyTorch either."""
    return found is not None or (isinstance(op.vjp, tuple) and op.vjp[i] is not None)


def _close(found: Tensor | None, expected: np.ndarray, what: str) -> None:
    array = np.zeros_like(expected) if found is None else found._array()
    np.testing.assert_allclose(array, expected, rtol=2e-5, atol=2e-6, err_msg=what)


def _check_first(op: Op, call: Call, rng: np.random.Generator, what: str) -> None:
    inputs = list(call.inputs)
    weights = _weights_for(op, op(*inputs, **call.params), rng)
    which, _, found = _gradients(op, inputs, call.params, weights)
    assert any(g is not None for g in found)
    for i, g in zip(which, found):
        if not _has_rule(op, i, g):
            continue
        assert g is None or (g._shape == inputs[i]._shape and g.dtype is inputs[i].dtype)
        expected = _numeric(lambda xs: _weighted_sum(op, op(*xs, **call.params), weights), inputs, i, 1e-6)
        _close(g, expected, f"{what}, input {i}")


def _check_second(op: Op, call: Call, rng: np.random.Generator, what: str) -> None:
    inputs = list(call.inputs)
    weights = _weights_for(op, op(*inputs, **call.params), rng)
    which, leaves, first = _gradients(op, inputs, call.params, weights, create_graph=True)
    seconds = [None if g is None else rng.uniform(0.5, 1.5, g._shape) for g in first]
    pairs = [
        (g, from_array(np.asarray(s).astype(g.dtype.np)))
        for g, s in zip(first, seconds) if g is not None and g.requires_grad
    ]  # fmt: skip
    found: list[Any] = [None] * len(which)
    if pairs:
        found = list(grad([g for g, _ in pairs], leaves, [s for _, s in pairs], allow_unused=True))

    def slope(xs: list[Any]) -> float:
        _, _, gs = _gradients(op, xs, call.params, weights)
        return sum(float(np.sum((s * g._array()).real)) for g, s in zip(gs, seconds) if g is not None)

    for i, g, claimed in zip(which, found, first):
        if _has_rule(op, i, claimed):
            _close(g, _numeric(slope, inputs, i, 1e-6), f"{what}, input {i}")


@pytest.mark.parametrize("name", filter(_differentiable, NAMES))
def test_derivative(name: str) -> None:
    rng = np.random.default_rng(1)
    for k, call in enumerate(samples_of(ops[name])):
        _check_first(ops[name], call, rng, f"{name}, sample {k}")


@pytest.mark.parametrize("name", filter(_differentiable, NAMES))
def test_second_derivative(name: str) -> None:
    rng = np.random.default_rng(2)
    for k, call in enumerate(samples_of(ops[name])):
        _check_second(ops[name], call, rng, f"{name}, sample {k}")


# ops that PyTorch differentiates for complex operands
COMPLEX = """
    abs acos acosh add addmm angle asin asinh atan atanh bmm cat conj_physical cos cosh cumprod cumsum diagonal div dot
    exp exp2 expand expm1 flip gather index_select linalg_vector_norm log log10 log1p log2 logsumexp masked_fill matmul
    mean mm mul mv neg permute pow prod reciprocal roll rsqrt select sgn sigmoid sin sinh slice sqrt square stack std
    sub sum tan tanh transpose var view where
""".split()


def _as_complex(call: Call, rng: np.random.Generator) -> Call:
    inputs = rebuilt(call, lambda x: from_array(x + 1j * rng.uniform(0.2, 0.9, x.shape) if x.dtype.kind == "f" else x))
    return Call(tuple(inputs), call.params)


@pytest.mark.parametrize("name", [n for n in COMPLEX if n in ops])
def test_derivatives_of_complex_operands(name: str) -> None:
    rng = np.random.default_rng(3)
    for k, call in enumerate(samples_of(ops[name])):
        if name == "linalg_vector_norm" and abs(call.params["ord"]) == np.inf:
            continue  # which element is the largest may change between the samples' differences
        call = _as_complex(call, rng)
        _check_first(ops[name], call, rng, f"{name}, sample {k}")
        _check_second(ops[name], call, rng, f"{name}, sample {k}")


# -- elementwise ops -------------------------------------------------------------------------------------------

TOLERANCE = {float32: (3e-5, 1e-6), float16: (4e-3, 1e-3), bfloat16: (3e-2, 1e-2)}


def _expected_dtype(name: str, d: dtype) -> dtype:
    result, to_float = RULES[ops[name].meta]
    if result is Result.BOOL:
        return bool_
    return float32 if (result is Result.FLOAT or to_float) and d.category < FLOAT else d


@pytest.mark.parametrize(
    "name,d", itertools.product(ELEMENTWISE, (float32, float16, bfloat16, int64)),
    ids=lambda v: v.name if isinstance(v, dtype) else v,
)  # fmt: skip
def test_elementwise_dtypes(name: str, d: dtype) -> None:
    """Narrow floats give what float64 gives, rounded; integers give the dtype that the rule says."""
    op = ops[name]
    for call in samples_of(op):
        if not all(is_float(x) for x in call.inputs if isinstance(x, Tensor)):
            continue
        narrow = rebuilt(call, lambda x: from_array(x.astype(d.np)))
        if d is int64 and any(isinstance(x, float) for x in call.inputs):
            continue
        try:
            out = op(*narrow, **call.params)
        except (RuntimeError, TypeError) as refused:
            assert d is int64 and str(refused), f"{name} refuses {d}: {refused}"
            continue
        assert out.dtype is _expected_dtype(name, d)
        if d in TOLERANCE and out.dtype is d:
            wide = op(*[x.double() if isinstance(x, Tensor) else x for x in narrow], **call.params)
            rtol, atol = TOLERANCE[d]
            np.testing.assert_allclose(
                out._array().astype(np.float64), wide._array(), rtol=rtol, atol=atol, err_msg=f"{name} in {d}"
            )


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_of_nothing(name: str) -> None:
    op = ops[name]
    first = samples_of(op)[0]
    for shape in ((0,), (2, 0, 3)):
        inputs = rebuilt(first, lambda x, shape=shape: from_array(np.zeros(shape, x.dtype)))
        out = op(*inputs, **first.params)
        assert out._shape == shape


# `polygamma` takes its order first; the calls below give operands first
REORDERED = ("polygamma",)
TENSORS_ONLY = ("logical_and", "logical_or", "logical_xor", "heaviside")


def _public_calls() -> Iterator[str]:
    for name in ELEMENTWISE:
        if name in names["torch"] and name + "_" in names["Tensor"] and name not in REORDERED:
            yield name


@pytest.mark.parametrize("name", list(_public_calls()))
def test_in_place_and_out_give_the_same(name: str) -> None:
    function = getattr(flambeau, name)
    for call in samples_of(ops[name]):
        if name in TENSORS_ONLY and not all(isinstance(x, Tensor) for x in call.inputs):
            continue
        expected = function(*call.inputs, **call.params)
        first = call.inputs[0]
        if not isinstance(first, Tensor):
            continue
        out = from_array(np.empty(expected._shape, expected.dtype.np))
        assert function(*call.inputs, **call.params, out=out) is out
        np.testing.assert_array_equal(out._array(), expected._array())
        target = first.clone()
        if expected._shape != target._shape:
            with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
                getattr(target, name + "_")(*call.inputs[1:], **call.params)
            continue
        if not is_float(target) and is_float(expected):
            with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
                getattr(target, name + "_")(*call.inputs[1:], **call.params)
            continue
        assert getattr(target, name + "_")(*call.inputs[1:], **call.params) is target
        np.testing.assert_array_equal(target._array(), expected._array().astype(target.dtype.np))


def test_the_harness_sees_a_wrong_derivative() -> None:
    """The numeric differences tell a right derivative from a wrong one."""
    wrong = Op("wrong", ref=np.square, meta=elementwise(), vjp=lambda g, _y, x: (g * x,), samples=unary_on(1, 2))
    x = maker("wrong")(3, low=1, high=2)
    _, _, found = _gradients(wrong, [x], {}, [np.ones(3)])
    expected = _numeric(lambda xs: _weighted_sum(wrong, wrong(*xs), [np.ones(3)]), [x], 0, 1e-6)
    np.testing.assert_allclose(expected, 2 * x._array(), rtol=1e-6)
    with pytest.raises(AssertionError):
        _close(found[0], expected, "wrong")
