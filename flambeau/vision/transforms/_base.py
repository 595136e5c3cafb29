"""What the transform classes share: how they print, and how sizes, angles and fills may be given."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import ops
from flambeau.nn import Module
from flambeau.tensors import Tensor
from flambeau.vision.transforms import functional as F


class Transform(Module):
    """A transform that prints the fields named in `_shown`."""

    _shown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self._shown)})"


def chance(p: float) -> bool:
    """True with probability p; takes one number from the random stream."""
    return bool(ops.rand(1).item() < np.float32(p))


class AtRandom(Transform):
    """Does `change(img)` with probability `p`, else nothing."""

    _shown = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def change(self, img: Any) -> Any:
        """What is done to an image."""
        raise NotImplementedError

    def forward(self, img: Any) -> Any:
        return self.change(img) if chance(self.p) else img


def uniform(low: float, high: float) -> float:
    """A random float; takes one number from the random stream."""
    return ops.empty(1).uniform_(low, high).item()


def integer(low: int, high: int) -> int:
    """A random integer, `high` excluded; takes one number from the random stream."""
    return int(ops.randint(low, high, size=(1,)).item())


def setup_size(size: Any, error_msg: str) -> Sequence[int]:
    """A size given as one number or as a sequence of one or two, as a sequence of two."""
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]
    if isinstance(size, Sequence) and len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(error_msg)
    return size


def check_sequence(x: Any, name: str, lengths: tuple[int, ...]) -> None:
    """Raise an error unless `x` is a sequence of one of the given lengths."""
    message = f"{name} should be a sequence of length {' or '.join(map(str, lengths))}."
    if not isinstance(x, Sequence):
        raise TypeError(message)
    if len(x) not in lengths:
        raise ValueError(message)


def setup_angle(x: Any, name: str, lengths: tuple[int, ...] = (2,)) -> list[float]:
    """An angle given as one number (then from -x to x), or as a sequence of bounds."""
    if isinstance(x, numbers.Number):
        if x < 0:  # type: ignore[operator]
            raise ValueError(f"If {name} is a single number, it must be positive.")
        x = [-x, x]  # type: ignore[operator]
    else:
        check_sequence(x, name, lengths)
    return [float(value) for value in x]


def check_fill(fill: Any) -> Any:
    """A fill value; None is 0."""
    if fill is None:
        return 0
    if not isinstance(fill, (Sequence, numbers.Number)):
        raise TypeError("Fill should be either a sequence or a number.")
    return fill


def fill_for(img: Any, fill: Any) -> Any:
    """The fill as `functional` wants it for this image: for a tensor, one float a channel."""
    if not isinstance(img, Tensor):
        return fill
    if isinstance(fill, numbers.Number):
        return [float(fill)] * F.get_dimensions(img)[0]  # type: ignore[arg-type]
    return [float(value) for value in fill]
