"""The registry of models and of their pretrained weights (torchvision.models' get_model, list_models, WeightsEnum)."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from flambeau.nn import Module
from flambeau.vision.models._download import load_state_dict_from_url
from flambeau.vision.transforms._presets import ImageClassification

BASE_URL = "https://download.pytorch.org/models/"
BUILDERS: dict[str, Callable[..., Module]] = {}
WEIGHTS: dict[str, type[WeightsEnum]] = {}

F = TypeVar("F", bound=Callable[..., Module])


@dataclass(frozen=True, eq=False)
class Weights:
    """Pretrained weights: where they are, the transform their images need, and what is known about them."""

    url: str
    transforms: Callable
    meta: dict[str, Any]


class WeightsEnum(Enum):
    """The pretrained weights that exist for a model; `DEFAULT` is the best of them.

    Example::

        >>> from flambeau.vision.models import ResNet50_Weights
        >>> ResNet50_Weights.DEFAULT
        ResNet50_Weights.IMAGENET1K_V2
    """

    @classmethod
    def verify(cls, obj: Any) -> Any:
        """The member that `obj` is or names; None stays None.

        Raises:
            TypeError: when it is something else; KeyError: when no member has the name.
        """
        if obj is None or type(obj) is cls:
            return obj
        if isinstance(obj, str):
            return cls[obj.removeprefix(f"{cls.__name__}.")]
        raise TypeError(
            f"Invalid Weight class provided; expected {cls.__name__} but received {type(obj).__name__}."
        )

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load the weights, from the cache or the network. Arguments: as of `load_state_dict_from_url`."""
        return load_state_dict_from_url(self.url, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self._name_}"

    @property
    def url(self) -> str:
        return self.value.url

    @property
    def transforms(self) -> Callable:
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        return self.value.meta


def imagenet(
    file: str, num_params: int, top1: float, top5: float, resize_size: int = 256, min_size: int = 1
) -> Weights:
    """Weights of an ImageNet classifier: file name, parameters, accuracies in percent, sizes in pixels."""
    meta = {
        "num_params": num_params,
        "min_size": (min_size, min_size),
        "_metrics": {"ImageNet-1K": {"acc@1": top1, "acc@5": top5}},
    }
    preset = partial(ImageClassification, crop_size=224, resize_size=resize_size)
    return Weights(BASE_URL + file, preset, meta)


# -- the registry ----------------------------------------------------------------------------------------------


def register_model(name: str | None = None) -> Callable[[F], F]:
    """A decorator that enters a builder into the registry, under its own or another name."""

    def enter(builder: F) -> F:
        key = name if name is not None else builder.__name__
        if key in BUILDERS:
            raise ValueError(f"An entry is already registered under the name '{key}'.")
        BUILDERS[key] = builder
        return builder

    return enter


def get_model_builder(name: str) -> Callable[..., Module]:
    """The function that builds a model.

    Raises:
        ValueError: for an unknown name.
    """
    try:
        return BUILDERS[name.lower()]
    except KeyError:
        raise ValueError(f"Unknown model {name}") from None


def get_model(name: str, **config: Any) -> Module:
    """Build a model by its name; `config` goes to its builder.

    Example::

        >>> get_model("resnet18", weights=None, num_classes=10).fc.out_features
        10
    """
    return get_model_builder(name)(**config)


def get_model_weights(name: Callable | str) -> type[WeightsEnum]:
    """The enumeration of a model's weights, by the model's name or builder.

    Raises:
        ValueError: where there is none.
    """
    key = name.lower() if isinstance(name, str) else name.__name__
    get_model_builder(key)
    try:
        return WEIGHTS[key]
    except KeyError:
        raise ValueError(f"There are no pretrained weights of {key}") from None


def get_weight(name: str) -> WeightsEnum:
    """Weights by their full name, like "ResNet50_Weights.IMAGENET1K_V2".

    Raises:
        ValueError: when it is no such name.
    """
    enum_name, _, member = name.partition(".")
    if not member:
        raise ValueError(f"Invalid weight name provided: '{name}'.")
    for weights in WEIGHTS.values():
        if weights.__name__ == enum_name:
            return weights[member]
    raise ValueError(f"The weight enum '{enum_name}' for the specific method couldn't be retrieved.")


def list_models(
    module: ModuleType | None = None,
    include: Iterable[str] | str | None = None,
    exclude: Iterable[str] | str | None = None,
) -> list[str]:
    """The names of all models, sorted.

    Args:
        module: only those defined in this module.
        include, exclude: patterns like "resnet*", one or several; those that match none, or any, are left out.
    """
    if module is not None and not isinstance(module, ModuleType):
        # A builder may hide the module that is named like it: flambeau.vision.models.alexnet is a function.
        module = sys.modules[module.__module__]
    names = {
        name
        for name, builder in BUILDERS.items()
        if module is None or builder.__module__ == module.__name__
    }

    def matching(patterns: Iterable[str] | str) -> set[str]:
        listed = [patterns] if isinstance(patterns, str) else patterns
        return {name for pattern in listed for name in fnmatch.filter(names, pattern)}

    if include:
        names &= matching(include)
    if exclude:
        names -= matching(exclude)
    return sorted(names)
