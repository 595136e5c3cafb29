"""The options of `flambeau train`: one table, from which the command line is made and which checkpoints keep."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flambeau.cli.errors import UserError

OPTIMIZERS = {"sgd": 0.05, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "adagrad": 1e-2}  # with default rates
SCHEDULES = ("constant", "step", "cosine", "onecycle")
# What a resumed run may choose anew without changing its numbers.
FREE_ON_RESUME = frozenset(["data_root", "download", "workers", "out", "plots", "progress", "epochs"])


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _non_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and below 1")
    return value


def _option(default: Any, help: str, parse: Callable | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, "parse": parse, **more})


@dataclass
class TrainSettings:
    """How a training run is done. Saved in each of its checkpoints."""

    data: str = _option("digits", "digits, mnist, fashion-mnist, cifar10, or a folder with one folder a class")
    data_root: str = _option("data", "where downloaded datasets lie", metavar="DIR")
    download: bool = _option(True, "fetch a dataset that is not there")
    model: str = _option("lenet", "lenet, mlp, resnet18 ... or FILE.py:NAME, a Module class or a function")
    image_size: int | None = _option(None, "resize images to N x N", positive_int, metavar="N")
    augment: bool = _option(True, "move (and, where that is harmless, mirror) training images at random")
    limit: int | None = _option(None, "use only N training images", positive_int, metavar="N")
    val_split: float = _option(0.1, "share of training images kept for validation", _fraction)
    epochs: int = _option(20, "passes over the training images", positive_int)
    batch_size: int = _option(32, "images per step", positive_int)
    optimizer: str = _option("sgd", "how weights are updated", choices=tuple(OPTIMIZERS))
    lr: float | None = _option(None, "learning rate; the default depends on the optimizer", _positive)
    momentum: float = _option(0.9, "of sgd and rmsprop", _fraction)
    weight_decay: float = _option(5e-4, "pull of weights towards zero", _non_negative)
    schedule: str = _option("cosine", "how the learning rate changes", choices=SCHEDULES)
    step_epochs: int = _option(10, "epochs between steps of the step schedule", positive_int, metavar="N")
    step_gamma: float = _option(0.1, "factor of each step of the step schedule", _positive)
    label_smoothing: float = _option(0.0, "weight of the uniform distribution in the targets", _fraction)
    clip_grad: float | None = _option(None, "largest norm of all gradients together", _positive, metavar="NORM")
    seed: int = _option(0, "makes two runs the same", _count)
    workers: int = _option(0, "processes that prepare images", _count)
    out: str | None = _option(None, "where results go (default: runs/DATA-MODEL)", metavar="DIR")
    plots: bool = _option(True, "draw curves and the confusion matrix")
    progress: bool = _option(True, "show a progress bar on a terminal")

    @property
    def learning_rate(self) -> float:
        return OPTIMIZERS[self.optimizer] if self.lr is None else self.lr

    @property
    def folder(self) -> Path:
        if self.out is not None:
            return Path(self.out)
        data, model = Path(self.data).name, Path(self.model.replace(":", "-")).name
        return Path("runs") / f"{data}-{model}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field. Only those that are given appear in the parsed namespace."""
    for item in fields(TrainSettings):
        name = "--" + item.name.replace("_", "-")
        more = dict(item.metadata)
        parse, text = more.pop("parse"), more.pop("help")
        if isinstance(item.default, bool):
            more["action"] = argparse.BooleanOptionalAction
        elif parse is not None:
            more["type"] = parse
            more.setdefault("metavar", "N" if parse in (positive_int, _count) else "X")
        elif "choices" not in more:
            more.setdefault("metavar", item.name.upper())
        if item.default is not None and not isinstance(item.default, bool):
            text += f" (default: {item.default})"
        parser.add_argument(name, default=argparse.SUPPRESS, help=text, **more)


def settings_from(given: dict[str, Any], saved: dict[str, Any] | None = None) -> TrainSettings:
    """Make settings of what was given on the command line and, for a resumed run, what its checkpoint says.

    Raises UserError where a resumed run is asked to differ from what it was.
    """
    names = {item.name for item in fields(TrainSettings)}
    given = {name: value for name, value in given.items() if name in names}
    if saved is None:
        return TrainSettings(**given)
    unknown = set(saved) - names
    if unknown:
        raise UserError(f"the checkpoint has settings that this version does not know: {', '.join(sorted(unknown))}")
    for name, value in given.items():
        if name not in FREE_ON_RESUME and value != saved.get(name):
            option = "--" + name.replace("_", "-")
            raise UserError(f"cannot resume with {option} {value}: the run was started with {saved.get(name)}")
    settings = TrainSettings(**{**saved, **given})
    if settings.epochs != saved["epochs"] and settings.schedule in ("cosine", "onecycle"):
        raise UserError(
            f"cannot resume with --epochs {settings.epochs}: the {settings.schedule} schedule was laid out for "
            f"{saved['epochs']}"
        )
    return settings
