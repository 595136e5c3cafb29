"""What the models' builders share: pretrained weights, the old `pretrained=` argument, rounding of channels."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from flambeau.nn import Module
from flambeau.vision.models._api import WEIGHTS, WeightsEnum, register_model


def _make_divisible(v: float, divisor: int, min_value: int | None = None) -> int:
    """`v` rounded to a multiple of `divisor`, by no more than 10 percent downwards."""
    floor = divisor if min_value is None else min_value
    rounded = max(floor, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * v else rounded


def _ovewrite_named_param(kwargs: dict[str, Any], param: str, new_value: Any) -> None:
    """Set a keyword argument; it is an error if the caller gave another value."""
    if kwargs.setdefault(param, new_value) != new_value:
        raise ValueError(f"The parameter '{param}' expected value {new_value} but got {kwargs[param]} instead.")


def handle_legacy_interface(
    **weights: tuple[str, Any],
) -> Callable[[Callable[..., Module]], Callable[..., Module]]:
    """A decorator that lets a builder take the arguments of old versions: `resnet18(True)`, `pretrained=True`.

    Each keyword is (old name, weights that True stands for, or a function of the keyword arguments that gives them).
    """

    def decorate(builder: Callable[..., Module]) -> Callable[..., Module]:
        @functools.wraps(builder)
        def build(*args: Any, **kwargs: Any) -> Module:
            positions = [*weights, "progress"]
            if len(args) > len(positions):
                raise TypeError(f"{builder.__name__}() takes at most {len(positions)} positional arguments")
            kwargs.update(zip(positions, args))
            for name, (old_name, default) in weights.items():
                _modernise(name, old_name, default, kwargs)
            return builder(**kwargs)

        return build

    return decorate


def _modernise(name: str, old_name: str, default: Any, kwargs: dict[str, Any]) -> None:
    """Replace an old flag among the keyword arguments by the weights it stands for."""
    if old_name in kwargs:
        warnings.warn(
            f"The parameter '{old_name}' is deprecated since 0.13 and may be removed in the future, "
            f"please use '{name}' instead."
        )
        kwargs[name] = kwargs.pop(old_name)
    value = kwargs.get(name)
    if value is None or isinstance(value, (WeightsEnum, str)):
        return
    chosen = None
    if value:
        chosen = default if isinstance(default, WeightsEnum) else default(kwargs)
    warnings.warn(
        f"Arguments other than a weight enum or `None` for '{name}' are deprecated since 0.13 and may be removed in "
        f"the future. The current behavior is equivalent to passing `{name}={chosen}`."
    )
    kwargs[name] = chosen


def classifier(
    name: str, weights: type[WeightsEnum], make: Callable[..., Module], doc: str
) -> Callable[..., Module]:
    """A registered builder of an image classifier, named `name` in the module of `make`.

    Args:
        weights: its pretrained weights; `IMAGENET1K_V1` is what `pretrained=True` stood for.
        make: builds the network from the keyword arguments of its class.
        doc: what it is, for the docstring.
    """

    def build(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> Module:
        chosen = enum.verify(weights)
        if chosen is not None:
            _ovewrite_named_param(kwargs, "num_classes", 1000)
        model = make(**kwargs)
        if chosen is not None:
            model.load_state_dict(chosen.get_state_dict(progress=progress, check_hash=True))
        return model

    enum = weights
    build.__name__ = build.__qualname__ = name
    build.__module__ = weights.__module__
    build.__doc__ = (
        f"{doc}\n\nArgs:\n    weights: pretrained weights ({enum.__name__}), their name, or None for random ones.\n"
        "    progress: show a progress bar while they are downloaded.\n"
        "    **kwargs: for the class, `num_classes` for instance.\n"
    )
    WEIGHTS[name] = enum
    return register_model()(handle_legacy_interface(weights=("pretrained", enum["IMAGENET1K_V1"]))(build))
