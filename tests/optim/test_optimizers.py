"""Optimizers without PyTorch: its recorded numbers, closures, groups, hooks, checkpoints, differentiable steps."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.optim.formula import FormulaOptimizer
from tests.optim.cases import CASES, IDS, golden, golden_optimizer

FORMULAS = sorted({name for name, _ in CASES})
ELEMENTWISE = [name for name in FORMULAS if name != "Adafactor"]


def quadratic(p: Any) -> Any:
    return ((p - 3) ** 2).sum()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_fifty_steps_give_pytorchs_numbers(name: str, options: dict, request: pytest.FixtureRequest) -> None:
    kept = golden("optimizers")[request.node.callspec.id]
    np.testing.assert_allclose(golden_optimizer(torch, name, options), kept, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_optimizer_descends(name: str) -> None:
    p = torch.tensor([0.0, 5.0], requires_grad=True)
    optimizer = getattr(torch.optim, name)([p], lr=100.0 if name == "Adadelta" else 0.1)
    first = quadratic(p).item()
    for _ in range(200):
        optimizer.zero_grad()
        quadratic(p).backward()
        optimizer.step()
    assert quadratic(p).item() < first / 10


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_formula_runs_on_tensors_as_on_arrays(name: str) -> None:
    """`differentiable=True` takes the same formula through autograd: same numbers, and a gradient through the step."""
    start, results = [0.5, -1.5, 2.0], []
    for differentiable in (False, True):
        leaf = torch.tensor(start, requires_grad=differentiable)
        p = leaf.clone() if differentiable else leaf
        optimizer = getattr(torch.optim, name)([p], differentiable=differentiable)
        for _ in range(3):
            p.grad = p.detach() * 2
            optimizer.step()
        results.append(p)
    np.testing.assert_allclose(results[0].tolist(), results[1].tolist(), rtol=1e-6)
    results[1].sum().backward()
    assert leaf.grad is not None and np.isfinite(leaf.grad.tolist()).all()


def test_a_rate_that_requires_grad_gets_one() -> None:
    lr = torch.tensor(0.1, requires_grad=True)
    p = torch.tensor([1.0, 2.0], requires_grad=True).clone()
    optimizer = torch.optim.SGD([p], lr=lr, differentiable=True)
    p.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    p.sum().backward()
    assert lr.grad.item() == -7.0


def test_a_rate_as_a_tensor() -> None:
    results = []
    for lr in (0.1, torch.tensor(0.1), torch.tensor([0.1])):
        p = torch.ones(3)
        p.grad = torch.tensor([1.0, 2.0, 3.0])
        torch.optim.SGD([p], lr=lr, momentum=0.5).step()
        results.append(p.tolist())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-6)


def test_closure_runs_with_grad_and_its_loss_is_returned() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([p])

    def closure() -> Any:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = quadratic(p)
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 8.0
    assert p[0].item() > 1


def test_parameters_without_gradient_are_left_alone() -> None:
    used, unused = torch.ones(2), torch.ones(2)
    used.grad = torch.ones(2)
    optimizer = torch.optim.Adam([used, unused], weight_decay=0.5)
    optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    assert list(map(id, optimizer.state)) == [id(used)]


def test_steps_write_in_place_into_views_and_are_seen_by_aliases() -> None:
    whole = torch.zeros(4, 3)
    column = whole[:, 1]
    column.grad = torch.ones(4)
    version = whole._version
    torch.optim.SGD([column], lr=1.0).step()
    assert whole.tolist() == [[0.0, -1.0, 0.0]] * 4
    assert whole._version > version


def test_a_step_between_forward_and_backward_is_noticed() -> None:
    p = torch.ones(2, requires_grad=True)
    loss = (p * p).sum()
    p.grad = torch.ones(2)
    torch.optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_zero_grad() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p])
    quadratic(p).backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_groups_have_their_own_options_and_can_be_added() -> None:
    a, b, c = (torch.ones(1) for _ in range(3))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1)
    optimizer.add_param_group({"params": [c], "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = torch.ones(1)
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.0, 0.8], rtol=1e-6)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0, 0.1]


def test_hooks_run_in_order_and_can_be_removed() -> None:
    p = torch.ones(1)
    optimizer = torch.optim.SGD([p])
    seen: list[str] = []
    handles = [
        torch.optim.optimizer.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all before")),
        torch.optim.optimizer.register_optimizer_step_post_hook(lambda o, a, k: seen.append("all after")),
        optimizer.register_step_pre_hook(lambda o, a, k: seen.append("before")),
        optimizer.register_step_post_hook(lambda o, a, k: seen.append("after")),
    ]
    optimizer.step()
    assert seen == ["all before", "before", "after", "all after"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(seen) == 4


def test_a_pre_hook_may_change_the_arguments() -> None:
    optimizer = torch.optim.SGD([torch.ones(1)])
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_state_dict_hooks() -> None:
    p = torch.ones(1)
    optimizer = torch.optim.SGD([p], lr=0.5)
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, d: d | {"extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "extra"})
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    saved = optimizer.state_dict()
    assert saved["extra"] == 1
    optimizer.load_state_dict(saved)
    assert seen == ["first", "second", "loaded"]


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_state_survives_pickle_deepcopy_and_state_dict(name: str, options: dict) -> None:
    def train(optimizer: Any, steps: int) -> list[float]:
        (p,) = optimizer.param_groups[0]["params"]
        for i in range(steps):
            p.grad = p.detach() * 2 + i
            optimizer.step()
        return p.tolist()

    def fresh() -> Any:
        return getattr(torch.optim, name)([torch.tensor([1.0, -2.0])], **options)

    optimizer = fresh()
    train(optimizer, 3)
    loaded = fresh()
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        loaded.param_groups[0]["params"][0].copy_(optimizer.param_groups[0]["params"][0])
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer)), loaded]
    expected = train(optimizer, 3)
    assert [train(other, 3) for other in others] == [expected] * 3


def test_old_checkpoints_lack_new_options_and_hold_steps_as_numbers() -> None:
    p = torch.ones(2)
    p.grad = torch.ones(2)
    optimizer = torch.optim.Adam([p])
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["step"] = 1
    for name in ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        del saved["param_groups"][0][name]
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 2.0


def test_loading_casts_state_but_not_the_step() -> None:
    p = torch.ones(2, dtype=torch.float64)
    optimizer = torch.optim.Adam([p])
    single = torch.ones(2)
    single.grad = torch.ones(2)
    other = torch.optim.Adam([single])
    other.step()
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.state[p]["exp_avg"].dtype is torch.float64
    assert optimizer.state[p]["step"].dtype is torch.float32


@pytest.mark.parametrize("name", FORMULAS)
def test_narrow_parameters_step_like_wide_ones(name: str) -> None:
    results = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        p = torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
        optimizer = getattr(torch.optim, name)([p], lr=0.1)
        for _ in range(5):
            p.grad = p.detach() * 0.5
            optimizer.step()
        assert p.dtype is dtype
        results.append(p.float().tolist())
    np.testing.assert_allclose(results[1], results[0], rtol=0.05, atol=0.02)
    np.testing.assert_allclose(results[2], results[0], rtol=0.01, atol=0.005)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_complex_parameters_step_as_pairs_of_reals(name: str) -> None:
    z, pair = torch.tensor([1 + 2j, -0.5 + 0.1j]), torch.tensor([[1.0, 2.0], [-0.5, 0.1]])
    optimizers = [getattr(torch.optim, name)([p]) for p in (z, pair)]
    for _ in range(4):
        z.grad = z.detach() * 0.5
        pair.grad = pair.detach() * 0.5
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_allclose(torch.view_as_real(z).tolist(), pair.tolist(), rtol=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_zero_dimensional_and_empty_parameters(name: str) -> None:
    point, empty = torch.tensor(2.0), torch.zeros(0, 3)
    point.grad, empty.grad = torch.tensor(1.0), torch.zeros(0, 3)
    getattr(torch.optim, name)([point, empty]).step()
    assert point.shape == () and point.item() < 2.0
    assert empty.shape == (0, 3)


def test_every_formula_is_pure() -> None:
    """A formula must not write into what it is given: a compiler will trace it."""
    rng = np.random.default_rng(0)
    for name in FORMULAS:
        optimizer: Any = getattr(torch.optim, name)([torch.ones(3)])
        assert isinstance(optimizer, FormulaOptimizer)
        group = optimizer.param_groups[0]
        p = group["params"][0]
        p.grad = torch.ones(3)
        state = optimizer.new_state(p, group)
        numbers = optimizer.numbers(optimizer.advance(state, group), group)
        arrays = {k: rng.random(3) for k in state if k not in optimizer.counters}
        before = copy.deepcopy(arrays)
        type(optimizer).update(np, rng.random(3), rng.random(3), arrays, **numbers)
        for key, value in before.items():
            np.testing.assert_array_equal(arrays[key], value)


def test_fused_wants_floating_point() -> None:
    z = torch.tensor([1 + 2j])
    z.grad = torch.tensor([1 + 2j])
    with pytest.raises(RuntimeError, match="`fused=True` requires all the params to be floating point"):
        torch.optim.Adam([z], fused=True).step()


def test_duplicate_parameters_warn() -> None:
    p = torch.ones(1)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        torch.optim.SGD([p, p])


def test_sparse_adam_refuses_dense_gradients() -> None:
    p = torch.ones(1)
    optimizer = torch.optim.SparseAdam([p])
    optimizer.step()
    p.grad = torch.ones(1)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        optimizer.step()


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_finds_the_minimum_and_continues_from_its_checkpoint(search: str | None) -> None:
    def losses(optimizer: Any, w: Any, steps: int) -> list[float]:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = (w[1] - w[0] ** 2) ** 2 + 0.1 * (1 - w[0]) ** 2
            loss.backward()
            return loss

        return [optimizer.step(closure).item() for _ in range(steps)]

    def fresh(start: list[float]) -> Any:
        w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        return torch.optim.LBFGS([w], lr=0.5, max_iter=3, line_search_fn=search), w

    optimizer, w = fresh([2.0, 1.0])
    losses(optimizer, w, 2)
    other, v = fresh(w.tolist())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert losses(optimizer, w, 3) == losses(other, v, 3)
    losses(optimizer, w, 80)
    np.testing.assert_allclose(w.tolist(), [1.0, 1.0], rtol=1e-3)


def test_lbfgs_knows_one_line_search() -> None:
    w = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], line_search_fn="armijo")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = quadratic(w)
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        optimizer.step(closure)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_muon_steps_along_an_orthogonal_matrix(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    p = torch.zeros(*shape)
    p.grad = torch.tensor(rng.standard_normal(shape).astype(np.float32).tolist())
    torch.optim.Muon([p], lr=1.0, weight_decay=0.0).step()
    scale = max(1.0, shape[0] / shape[1]) ** 0.5
    singular = np.linalg.svd(np.asarray(p.tolist()) / scale, compute_uv=False)
    assert (singular > 0.5).all() and (singular < 1.3).all()


def test_muon_wants_matrices() -> None:
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        torch.optim.Muon([torch.zeros(3)])
