"""Transforms of whole samples: finding the images in them, and transforming all in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from flambeau import ops
from flambeau.dtypes import dtype
from flambeau.nn import Module
from flambeau.tensors import Tensor
from flambeau.vision.transforms.v2 import functional as F


def _leaves(sample: Any) -> list[Any]:
    if isinstance(sample, (tuple, list)):
        return [leaf for item in sample for leaf in _leaves(item)]
    if isinstance(sample, dict):
        return [leaf for item in sample.values() for leaf in _leaves(item)]
    return [sample]


def _rebuilt(sample: Any, leaves: Any) -> Any:
    """A sample of the same structure with other leaves."""
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*(_rebuilt(item, leaves) for item in sample))
    if isinstance(sample, (tuple, list)):
        return type(sample)(_rebuilt(item, leaves) for item in sample)
    if isinstance(sample, dict):
        return {key: _rebuilt(item, leaves) for key, item in sample.items()}
    return next(leaves)


def _image_indices(leaves: list[Any], arrays: bool) -> list[int]:
    """Which leaves are images: the PIL images (and arrays, where asked for), else the first tensor."""
    kinds = (Image.Image, np.ndarray) if arrays else (Image.Image,)
    found = [index for index, leaf in enumerate(leaves) if isinstance(leaf, kinds)]
    return found or [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor)][:1]


def map_images(function: Callable[[Any], Any], inputs: tuple, arrays: bool = False) -> Any:
    """Apply a function to the images of a sample, with the same random numbers for each."""
    sample = inputs if len(inputs) > 1 else inputs[0]
    leaves = _leaves(sample)
    indices = _image_indices(leaves, arrays)
    state = ops.get_rng_state() if len(indices) > 1 else None
    for index in indices:
        if state is not None:
            ops.set_rng_state(state)
        leaves[index] = function(leaves[index])
    return _rebuilt(sample, iter(leaves))


def lift(transform: type) -> Any:
    """A class like `transform` that takes samples; it goes by the same name, in the module that calls this."""
    arrays = not issubclass(transform, Module)  # those that convert take arrays too
    single = transform.forward if issubclass(transform, Module) else transform.__call__  # type: ignore[attr-defined]

    def forward(self: Any, *inputs: Any) -> Any:
        return map_images(lambda image: single(self, image), inputs, arrays)

    body = {
        "forward" if issubclass(transform, Module) else "__call__": forward,
        "__module__": sys._getframe(1).f_globals["__name__"],
        "__doc__": transform.__doc__,
    }
    return type(transform.__name__, (transform,), body)


class Transform(Module):
    """Base of transforms of samples: define `transform(inpt, params)`, and `make_params(flat_inputs)` if random."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The random choices for a sample."""
        return {}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        raise NotImplementedError

    def forward(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) > 1 else inputs[0]
        leaves = _leaves(sample)
        indices = _image_indices(leaves, arrays=True)
        params = self.make_params([leaves[index] for index in indices])
        for index in indices:
            leaves[index] = self.transform(leaves[index], params)
        return _rebuilt(sample, iter(leaves))

    def extra_repr(self) -> str:
        shown = (
            (name, value)
            for name, value in vars(self).items()
            if not name.startswith("_") and name != "training" and isinstance(value, (int, float, str, tuple, list))
        )
        return ", ".join(f"{name}={value}" for name, value in shown)


class Compose(Module):
    """Apply transforms one after the other to a sample.

    Args:
        transforms: a sequence of transforms.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        super().__init__()
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence of callables")
        if not transforms:
            raise ValueError("Pass at least one transform")
        self.transforms = transforms

    def forward(self, *inputs: Any) -> Any:
        for transform in self.transforms:
            outputs = transform(*inputs)
            inputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return outputs

    def extra_repr(self) -> str:
        return "\n".join(f"    {transform}" for transform in self.transforms)


class Lambda(Module):
    """Apply a function to everything in a sample that is of the given types; default, to everything.

    Args:
        lambd: the function.
        *types: classes.
    """

    def __init__(self, lambd: Callable, *types: type) -> None:
        super().__init__()
        self.lambd = lambd
        self.types = types or (object,)

    def forward(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) > 1 else inputs[0]
        leaves = (self.lambd(leaf) if isinstance(leaf, self.types) else leaf for leaf in _leaves(sample))
        return _rebuilt(sample, leaves)


class Identity(Transform):
    """Change nothing."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt


class ToImage(Transform):
    """Convert PIL images and arrays to tensor images, with their own values."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Tensor:
        return F.to_image(inpt)


class ToPureTensor(Identity):
    """Tensors stay tensors: Flambeau's images have no class of their own."""


class ToDtype(Transform):
    """Convert tensor images to a dtype.

    Args:
        dtype: the dtype, or a dict that has it for `Tensor` or "others".
        scale: scale the values too: 255 in uint8 is 1.0 in float32.
    """

    def __init__(self, dtype: dtype | dict[Any, dtype | None], scale: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        self.scale = scale

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        choice: Any = self.dtype
        kind: dtype | None = choice.get(Tensor, choice.get("others")) if isinstance(choice, dict) else choice
        if kind is None or not isinstance(inpt, Tensor):
            return inpt
        return F.to_dtype(inpt, kind, self.scale)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, scale={self.scale}"
