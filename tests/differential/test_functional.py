"""`nn.functional` beside PyTorch's: results, layouts, nodes, gradients, random numbers and errors of many calls."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
from tests.differential import functional_cases as cases
from tests.differential.beside import numpy_of
from tests.differential.functional_errors import ERRORS

LIBRARIES = {"flambeau": flambeau, "torch": torch}


def calls(*tables: str) -> list[str]:
    return [line for table in tables for line in table.strip().splitlines()]


CALLS = calls(
    cases.ACTIVATIONS, cases.CONVOLUTIONS, cases.POOLS, cases.NORMALISATION, cases.LOSSES, cases.TABLES,
    cases.ATTENTION, cases.IMAGES, cases.EMPTY, cases.CELLS, cases.TORCH_FORMS, cases.RANDOM,
)  # fmt: skip
# PyTorch has no second derivative of these, or none that is worth comparing (drawn numbers, integers).
NO_SECOND = (
    "grid_sample", "embedding_bag", "ctc_loss", "adaptive_max_pool", "antialias", "max_unpool", "one_hot", "F.lp_pool",
    "cosine_similarity", "pdist", "multilabel_margin", "multi_margin", "F.scaled_dot", "hardsigmoid",
    "high=5) * 0 - 100", "scale_grad_by_freq", "grid_sampler", "conv_tbc",
)  # fmt: skip


class Run:
    """One call in one library: its tensors, made from the call's text, and what came out."""

    def __init__(self, call: str, library: str, gapped: bool = False, dtype: str | None = None) -> None:
        self.lib = LIBRARIES[library]
        self.gapped, self.dtype = gapped, dtype
        self.rng = np.random.default_rng(zlib.crc32(call.encode()))
        self.leaves: list[Any] = []
        self.call = call.lstrip("~")
        self.lib.manual_seed(3)

    def names(self) -> dict[str, Any]:
        lib = self.lib
        return {
            "F": lib.nn.functional, "torch": lib, "t": self.t, "c": self.c, "p": self.p, "i": self.i, "b": self.b,
            "d": self.d, "v": lambda values: lib.tensor(values), "float64": lib.float64, "nan": float("nan"),
        }  # fmt: skip

    def leaf(self, array: Any) -> Any:
        if not self.gapped or array.ndim < 2:
            self.leaves.append(self.narrowed(self.lib.from_numpy(np.array(array))).requires_grad_())
            return self.leaves[-1]
        # the first dimension innermost, with a gap after every element
        wide = np.ascontiguousarray(np.moveaxis(np.stack([array, array], -1), 0, -1))
        self.leaves.append(self.lib.from_numpy(wide).requires_grad_())
        return self.leaves[-1].movedim(-1, 0)[..., 0]

    def narrowed(self, t: Any) -> Any:
        return t if self.dtype is None else t.to(getattr(self.lib, self.dtype))

    def normal(self, shape: tuple) -> np.ndarray:
        return np.asarray(self.rng.standard_normal(shape))

    def t(self, *shape: int) -> Any:
        return self.leaf(self.normal(shape).astype(np.float32))

    def d(self, *shape: int) -> Any:
        return self.leaf(self.normal(shape))

    def c(self, *shape: int) -> Any:
        return self.narrowed(self.lib.from_numpy(self.normal(shape).astype(np.float32)))

    def p(self, *shape: int) -> Any:
        return self.leaf(np.asarray(self.rng.uniform(0.05, 0.95, shape)).astype(np.float32))

    def i(self, *shape: int, high: int) -> Any:
        return self.lib.from_numpy(np.asarray(self.rng.integers(0, high, shape)))

    def b(self, *shape: int) -> Any:
        return self.lib.from_numpy(np.asarray(self.rng.random(shape) < 0.7))

    def results(self) -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = eval(self.call, self.names())  # noqa: S307
        return list(_flat(found))


def _flat(found: Any) -> Any:
    if isinstance(found, (tuple, list)):
        for part in found:
            yield from _flat(part)
    elif found is not None:
        yield found


def close(mine: Any, theirs: Any, what: str, rtol: float = 2e-5, atol: float = 5e-6) -> None:
    assert str(mine.dtype) == str(theirs.dtype), what
    assert tuple(mine.shape) == tuple(theirs.shape), what
    double = str(theirs.dtype).endswith("64")
    np.testing.assert_allclose(
        numpy_of(mine), numpy_of(theirs), rtol=1e-11 if double else rtol, atol=1e-11 if double else atol, err_msg=what
    )


def weighted(lib: Any, results: list[Any], seed: int) -> Any:
    """A number that depends on every element of the results in its own way."""
    rng = np.random.default_rng(seed)
    total = None
    for r in results:
        w = lib.from_numpy(np.asarray(rng.standard_normal(tuple(r.shape)))).to(r.dtype)
        part = (r * w).sum()
        total = part if total is None else total + part.to(total.dtype)
    return total


@pytest.mark.parametrize("call", CALLS)
def test_results_and_gradients(call: str) -> None:
    mine, theirs = Run(call, "flambeau"), Run(call, "torch")
    ours, expected = mine.results(), theirs.results()
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected):
        close(a, b, "result")
        assert a.requires_grad == b.requires_grad
    if not call.startswith("~"):
        assert ours[0].stride() == expected[0].stride()
        if expected[0].grad_fn is not None:
            assert ours[0].grad_fn.name() == expected[0].grad_fn.name()
    _compare_gradients(mine, theirs, ours, expected)


def _compare_gradients(mine: Run, theirs: Run, ours: list[Any], expected: list[Any]) -> None:
    ours, expected = ([r for r in found if r.requires_grad] for found in (ours, expected))
    if not ours:
        return
    weighted(flambeau, ours, 1).backward()
    weighted(torch, expected, 1).backward()
    for k, (a, b) in enumerate(zip(mine.leaves, theirs.leaves, strict=True)):
        assert (a.grad is None) == (b.grad is None), f"gradient {k}"
        if b.grad is not None:
            close(a.grad, b.grad, f"gradient {k}", rtol=1e-4, atol=2e-5)


# PyTorch refuses the first two, and finds channels-last in the strides that the third makes out of channels-last ones.
ONLY_IN_ORDER = ("F.nll_loss(t(2, 5, 3, 3)", "F.conv_tbc", "F.interpolate(t(1, 5, 6, 3).permute")
GAPPED = [
    c for c in CALLS if c not in calls(cases.RANDOM, cases.EMPTY) and not any(word in c for word in ONLY_IN_ORDER)
]


@pytest.mark.parametrize("call", GAPPED)
def test_inputs_in_any_layout(call: str) -> None:
    mine, theirs = Run(call, "flambeau", gapped=True), Run(call, "torch", gapped=True)
    ours, expected = mine.results(), theirs.results()
    for a, b in zip(ours, expected, strict=True):
        close(a, b, "result")
        assert a.stride() == b.stride() or call.startswith("~")
    _compare_gradients(mine, theirs, ours, expected)


NARROW = [
    c for c in calls(cases.ACTIVATIONS, cases.CONVOLUTIONS, cases.POOLS, cases.NORMALISATION, cases.ATTENTION)
    if not any(word in c for word in ("avg_pool3d", "lp_pool3d", "local_response", "F.pad", "+ 1000"))
]  # fmt: skip


@pytest.mark.parametrize("call", NARROW)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types(call: str, dtype: str) -> None:
    """Results are rounded alike; gradients are not compared, PyTorch rounds inside of them."""
    ours, expected = (Run(call, library, dtype=dtype).results() for library in LIBRARIES)
    for a, b in zip(ours, expected, strict=True):
        assert str(a.dtype) == str(b.dtype)
        scale = max(1.0, float(np.nanmax(np.abs(numpy_of(b)), initial=0)))
        eps = 2e-3 if dtype == "float16" else 1.6e-2
        np.testing.assert_allclose(numpy_of(a) / scale, numpy_of(b) / scale, rtol=eps, atol=eps)


SECOND = [
    c
    for c in CALLS
    if not any(word in c for word in NO_SECOND) and c not in calls(cases.RANDOM, cases.CELLS, cases.EMPTY)
]


@pytest.mark.parametrize("call", SECOND)
def test_second_derivatives(call: str) -> None:
    """The gradient of the squared gradient, in both libraries."""
    runs = {name: Run(call, name) for name in LIBRARIES}
    second: dict[str, list[Any]] = {}
    for name, run in runs.items():
        results = [r for r in run.results() if r.requires_grad]
        if not results:
            return
        first = run.lib.autograd.grad(
            weighted(run.lib, [r * r for r in results], 1), run.leaves, create_graph=True, allow_unused=True
        )  # fmt: skip
        squares = [(g * g).sum().double() for g in first if g is not None and g.requires_grad]
        if not squares:
            second[name] = []
            continue
        second[name] = list(run.lib.autograd.grad(sum(squares[1:], squares[0]), run.leaves, allow_unused=True))
    if not second["torch"]:
        return
    assert second["flambeau"], "no graph of the gradient"
    for k, (a, b) in enumerate(zip(second["flambeau"], second["torch"], strict=True)):
        expected = np.zeros(tuple(runs["torch"].leaves[k].shape)) if b is None else numpy_of(b)
        found = np.zeros(expected.shape) if a is None else numpy_of(a)
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found / scale, expected / scale, rtol=2e-3, atol=2e-4, err_msg=f"leaf {k}")


@pytest.mark.parametrize("call", calls(ERRORS))
def test_errors(call: str) -> None:
    with pytest.raises(Exception) as expected:
        Run(call, "torch").results()
    with pytest.raises(Exception) as found:
        Run(call, "flambeau").results()
    assert isinstance(found.value, _known(type(expected.value)))
    assert str(found.value) == str(expected.value).split("\nException raised from")[0]


def _known(kind: type) -> type:
    return kind if kind.__module__ == "builtins" else RuntimeError


def test_running_statistics() -> None:
    for function in ("batch_norm", "instance_norm"):
        for momentum in (0.1, 0.7):
            found = []
            for lib in (flambeau, torch):
                run: Callable = getattr(lib.nn.functional, function)
                x = lib.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32))
                mean, var = lib.zeros(3), lib.ones(3)
                extra = {"training": True} if function == "batch_norm" else {}
                run(x, mean, var, momentum=momentum, **extra)
                found.append((mean, var))
            for a, b in zip(*found):
                close(a, b, f"{function} with momentum {momentum}")


def test_max_norm_shortens_rows_in_place() -> None:
    tables = []
    for lib in (flambeau, torch):
        table = lib.from_numpy(np.arange(12, dtype=np.float32).reshape(4, 3))
        lib.nn.functional.embedding(lib.tensor([1, 1, 3]), table, max_norm=2.0, norm_type=1.0)
        tables.append(table)
    close(*tables, "table")
