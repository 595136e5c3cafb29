"""Recurrent networks and multi-head attention beside PyTorch's, in every combination of their options."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
from tests.differential.beside import LIBRARIES, numpy_of


def tensor(lib: Any, rng: np.random.Generator, *shape: int, grad: bool = True) -> Any:
    t = lib.from_numpy(rng.standard_normal(shape).astype(np.float32))
    return t.requires_grad_() if grad else t


def assert_close(mine: list[Any], theirs: list[Any], what: str, rtol: float = 2e-5, atol: float = 5e-6) -> None:
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert (a is None) == (b is None), f"{what} {k}"
        if b is not None:
            np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=rtol, atol=atol, err_msg=f"{what} {k}")


# -- recurrent networks ----------------------------------------------------------------------------------------

LAYERS = [
    (kind, {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias, **extra})
    for kind, extras in (("LSTM", ({}, {"proj_size": 3})), ("GRU", ({},)), ("RNN", ({}, {"nonlinearity": "relu"})))
    for extra in extras
    for layers, both, first, bias in itertools.product((1, 2), (False, True), (False, True), (True, False))
]


def run_layer(lib: Any, kind: str, options: dict[str, Any], packed: bool, second: bool = False) -> list[list[Any]]:
    """Results and gradients (or gradients of a squared gradient) of one recurrent module."""
    rng = np.random.default_rng(7)
    module = getattr(lib.nn, kind)(4, 5, **options)
    with lib.no_grad():
        for p in module.parameters():
            p.copy_(lib.from_numpy((rng.standard_normal(tuple(p.shape)) * 0.4).astype(np.float32)))
    x = tensor(lib, rng, 3, 6, 4)
    entered = x
    if packed:
        lengths = lib.tensor([4, 6, 2] if options["batch_first"] else [3, 1, 2, 3, 3, 1])
        entered = lib.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=options["batch_first"], enforce_sorted=False
        )  # fmt: skip
    out, state = module(entered)
    results = [out.data if packed else out, *(state if isinstance(state, tuple) else (state,))]
    loss = sum((r * (k + 2)).sin().sum() for k, r in enumerate(results))
    leaves = [x, *module.parameters()]
    grads = lib.autograd.grad(loss, leaves, create_graph=second)
    if second:
        grads = lib.autograd.grad(sum((g * g).sum() for g in grads), leaves)
    return [results, list(grads)]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("kind", "options"), LAYERS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_recurrent_layers(kind: str, options: dict[str, Any], packed: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = (run_layer(lib, kind, options, packed) for lib in LIBRARIES)
    assert_close(mine[0], theirs[0], "result")
    assert_close(mine[1], theirs[1], "gradient", 2e-4, 2e-5)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_second_derivatives_of_recurrent_layers(kind: str, packed: bool) -> None:
    options = {"num_layers": 1, "bidirectional": True, "batch_first": False}
    mine, theirs = (run_layer(lib, kind, options, packed, second=True) for lib in LIBRARIES)
    assert_close(mine[1], theirs[1], "gradient", 1e-3, 1e-3)


def test_dropout_between_layers_draws_the_same_numbers() -> None:
    found = []
    for lib in LIBRARIES:
        rng = np.random.default_rng(0)
        module = lib.nn.GRU(4, 5, num_layers=3, dropout=0.4)
        with lib.no_grad():
            for p in module.parameters():
                p.copy_(lib.from_numpy(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
        lib.manual_seed(11)
        found.append(list(module(tensor(lib, rng, 6, 2, 4))))
    assert_close(*found, "result")


# -- multi-head attention --------------------------------------------------------------------------------------

ATTENTION: list[dict[str, Any]] = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"mask": "bool"},
    {"mask": "float", "need_weights": False},
    {"mask": "heads"},
    {"padding": "bool"},
    {"padding": "bool", "need_weights": False},
    {"padding": "float", "mask": "float"},
    {"padding": "bool", "mask": "bool", "need_weights": False},
    {"causal": True, "mask": "causal", "need_weights": False},
    {"causal": True, "mask": "causal", "padding": "bool", "need_weights": False},
    {"add_zero_attn": True, "padding": "bool"},
    {"bias_kv": True, "mask": "bool"},
    {"bias": False},
    {"self": True},
    {"self": True, "need_weights": False, "mask": "bool"},
    {"same_kv": True},
    {"separate": True},
    {"unbatched": True},
    {"unbatched": True, "padding": "bool", "need_weights": False},
    {"unbatched": True, "self": True, "mask": "heads"},
    {"dropout": 0.3},
    {"dropout": 0.3, "need_weights": False},
    {"dropout": 0.3, "training": False},
]
L, S, N, E, HEADS = 4, 5, 2, 6, 3


def masks(lib: Any, rng: np.random.Generator, case: dict[str, Any], targets: int, sources: int) -> dict[str, Any]:
    shapes = {"heads": ((1 if case.get("unbatched") else N) * HEADS, targets, sources)}
    found: dict[str, Any] = {"attn_mask": None, "key_padding_mask": None}
    kind = case.get("mask")
    if kind == "causal":
        found["attn_mask"] = lib.from_numpy(np.triu(np.ones((targets, sources), bool), 1))
    elif kind is not None:
        shape = shapes.get(kind, (targets, sources))
        hidden = rng.random(shape) < 0.3
        hidden[..., 0] = False
        found["attn_mask"] = (
            lib.from_numpy(rng.standard_normal(shape).astype(np.float32)) if kind == "float" else lib.from_numpy(hidden)
        )  # fmt: skip
    if "padding" in case:
        shape = (sources,) if case.get("unbatched") else (N, sources)
        hidden = rng.random(shape) < 0.3
        hidden[..., 0] = False
        found["key_padding_mask"] = (
            lib.from_numpy(np.where(hidden, -np.inf, 0).astype(np.float32))
            if case["padding"] == "float" else lib.from_numpy(hidden)
        )  # fmt: skip
    return found


def run_attention(lib: Any, case: dict[str, Any]) -> list[list[Any]]:
    rng = np.random.default_rng(3)
    batch = () if case.get("unbatched") else (N,)
    query, key, value = (tensor(lib, rng, n, *batch, E) for n in (L, S, S))
    if case.get("self"):
        key = value = query
    elif case.get("same_kv"):
        value = key
    weights = {
        "in_proj_weight": tensor(lib, rng, 3 * E, E), "in_proj_bias": tensor(lib, rng, 3 * E),
        "out_proj_weight": tensor(lib, rng, E, E), "out_proj_bias": tensor(lib, rng, E),
        "bias_k": tensor(lib, rng, 1, 1, E), "bias_v": tensor(lib, rng, 1, 1, E),
    }  # fmt: skip
    if not case.get("bias_kv"):
        weights["bias_k"] = weights["bias_v"] = None
    if not case.get("bias", True):
        weights["in_proj_bias"] = weights["out_proj_bias"] = None
    if case.get("separate"):
        parts = {name: tensor(lib, rng, E, E) for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")}
        weights |= {**parts, "in_proj_weight": None}
    lib.manual_seed(5)
    out, seen = lib.nn.functional.multi_head_attention_forward(
        query, key, value, E, HEADS, add_zero_attn=case.get("add_zero_attn", False), dropout_p=case.get("dropout", 0.0),
        training=case.get("training", True), need_weights=case.get("need_weights", True),
        use_separate_proj_weight=case.get("separate", False),
        average_attn_weights=case.get("average_attn_weights", True), is_causal=case.get("causal", False), **weights,
        **masks(lib, rng, case, L, L if case.get("self") else S),
    )  # fmt: skip
    loss = out.sin().sum() + (0 if seen is None else (seen * seen).sum())
    leaves = list({id(t): t for t in (query, key, value, *weights.values()) if t is not None}.values())
    return [[out, seen], list(lib.autograd.grad(loss, leaves, allow_unused=True))]


@pytest.mark.parametrize("case", ATTENTION, ids=lambda case: "-".join(f"{k}={v}" for k, v in case.items()) or "plain")
def test_multi_head_attention(case: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = run_attention(flambeau, case), run_attention(torch, case)
    assert_close(mine[0], theirs[0], "result", 1e-4, 2e-5)
    assert_close(mine[1], theirs[1], "gradient", 1e-3, 2e-4)


def refused(lib: Any, *shapes: tuple[int, ...], heads: int = 3, **options: Any) -> Exception:
    query, key, value = (lib.zeros(shape) for shape in shapes)
    made = {name: lib.zeros(shape) for name, shape in options.pop("zeros", {}).items()}
    with pytest.raises(Exception) as error:
        lib.nn.functional.multi_head_attention_forward(
            query, key, value, E, heads, lib.zeros(3 * E, E), lib.zeros(3 * E), None, None, False, 0.0, lib.zeros(E, E),
            lib.zeros(E), **made, **options,
        )  # fmt: skip
    return error.value


@pytest.mark.parametrize(
    "call",
    [
        {"shapes": ((4, 2, 7),) * 3},
        {"shapes": ((4, 2, 6),) * 3, "heads": 4},
        {"shapes": ((4, 2, 6), (5, 6), (5, 6))},
        {"shapes": ((4, 6), (5, 2, 6), (5, 2, 6))},
        {"shapes": ((4, 2, 6), (5, 2, 6), (4, 2, 6))},
        {"shapes": ((2, 4, 2, 6),) * 3},
        {"shapes": ((4, 2, 6),) * 3, "zeros": {"attn_mask": (3, 3)}},
        {"shapes": ((4, 2, 6),) * 3, "zeros": {"attn_mask": (5, 4, 4)}},
        {"shapes": ((4, 2, 6),) * 3, "zeros": {"attn_mask": (4,)}},
        {"shapes": ((4, 2, 6),) * 3, "zeros": {"key_padding_mask": (4,)}},
        {"shapes": ((4, 2, 6),) * 3, "is_causal": True},
    ],
)
def test_attention_refuses_what_pytorch_refuses(call: dict[str, Any]) -> None:
    options = {k: v for k, v in call.items() if k != "shapes"}
    mine, theirs = (refused(lib, *call["shapes"], **dict(options)) for lib in LIBRARIES)
    assert type(mine) is type(theirs)
    assert str(mine) == str(theirs)
