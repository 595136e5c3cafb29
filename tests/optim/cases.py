"""What the optimizer tests run, in Flambeau or, in the differential suite, in PyTorch (`lib` is either).

`golden.json` holds what PyTorch gave, so that the ordinary tests need no PyTorch; `tests/differential` renews it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).with_name("golden.json")
STEPS = 50
SHAPES = [(5, 3), (4,), (), (2, 3, 2)]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.02, "maximize": True, "momentum": 0.5}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "foreach": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "fused": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "foreach": True}),
    ("Adam", {"lr": 0.02, "fused": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.05, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-5, 0.1), "d": 2.0, "weight_decay": 0.1}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "t0": 20, "weight_decay": 0.1, "maximize": True}),
]
IDS = [f"{name}-{i}-" + ",".join(options) for i, (name, options) in enumerate(CASES)]


def parameters(lib: Any, dtype: str = "float32") -> list[Any]:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    return [lib.tensor(a.tolist(), dtype=getattr(lib, dtype)).requires_grad_() for a in arrays]


def gradients(step: int, params: list[Any], lib: Any) -> None:
    """A gradient that depends on where the parameter is, so that differences would grow, and changes sign."""
    rng = np.random.default_rng(step)
    for i, p in enumerate(params):
        if i == 1 and step % 7 == 3:
            p.grad = None  # as of a layer that was not used in this step
            continue
        noise = lib.tensor(rng.standard_normal(p.shape).astype(np.float32).tolist(), dtype=p.dtype)
        p.grad = p.detach() * 0.3 + noise.reshape(p.shape)


def run(lib: Any, name: str, options: dict[str, Any], steps: int = STEPS, dtype: str = "float32") -> tuple[Any, Any]:
    params = parameters(lib, dtype)
    optimizer = getattr(lib.optim, name)(params, **options)
    for step in range(steps):
        gradients(step, params, lib)
        optimizer.step()
    return params, optimizer


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t),
    "LambdaLR, a list": lambda s, o: s.LambdaLR(o, [lambda t: 0.95**t, lambda t: 1 / (t + 1)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9 + 0.1 / (t + 1)),
    "StepLR": lambda s, o: s.StepLR(o, 7, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 25], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.2, 9),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.8, 20),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 30, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 13, 1e-3),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 1e-3),
    "CosineAnnealingWarmRestarts, equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 6),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, 8),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.3], 5, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, mode="exp_range", gamma=0.97),
    "CyclicLR scale_fn": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, scale_fn=lambda x: 1 / x, cycle_momentum=False),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, 60),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(o, [0.5, 0.3], 60, anneal_strategy="linear", pct_start=0.4),
    "OneCycleLR three": lambda s, o: s.OneCycleLR(o, 0.5, epochs=6, steps_per_epoch=10, three_phase=True),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 4), s.LinearLR(o, 0.2, 1.0, 10), s.ExponentialLR(o, 0.9)], [8, 25]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 8), s.ExponentialLR(o, 0.95)]),
    "Sequential of Chained": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.1, 8), s.StepLR(o, 3)]), s.CosineAnnealingLR(o, 9)], [12]
    ),
}


def two_groups(lib: Any, kind: str, lr_tensor: bool = False) -> Any:
    a, b = lib.zeros(2, requires_grad=True), lib.zeros(3, requires_grad=True)
    lr = lib.tensor(0.1) if lr_tensor else 0.1
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(lib.optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.04}], lr=lr, **options)


def follow(lib: Any, make: Any, kind: str, steps: int, lr_tensor: bool = False) -> tuple[list[Any], Any, Any]:
    optimizer = two_groups(lib, kind, lr_tensor)
    scheduler = make(lib.optim.lr_scheduler, optimizer)
    seen = []
    for _ in range(steps):
        momenta = [g.get("momentum", g.get("betas")) for g in optimizer.param_groups]
        seen.append([float(x) for x in scheduler.get_last_lr()] + momenta)
        optimizer.step()
        scheduler.step()
    return seen, optimizer, scheduler


def golden_optimizer(lib: Any, name: str, options: dict[str, Any]) -> list[float]:
    """The parameters after `STEPS` steps, as one list."""
    params, _ = run(lib, name, options)
    return [x for p in params for x in p.detach().reshape(-1).tolist()]


def golden_schedule(lib: Any, name: str) -> list[list[float]]:
    """The rates of every fifth of 60 steps."""
    return [rates[:2] for rates in follow(lib, SCHEDULES[name], "SGD", 60)[0][::5]]


def record_golden(lib: Any) -> None:
    optimizers = {i: golden_optimizer(lib, *case) for i, case in zip(IDS, CASES)}
    schedules = {name: golden_schedule(lib, name) for name in SCHEDULES}
    GOLDEN.write_text(json.dumps({"optimizers": optimizers, "schedules": schedules}, indent=0) + "\n")


def golden(kind: str) -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())[kind]
