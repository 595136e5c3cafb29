"""Which network `--model` names: one of flambeau.vision.models, or one in a user's file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flambeau import compat, ops
from flambeau.autograd import no_grad
from flambeau.cli.errors import UserError, reason
from flambeau.cli.images import Preprocessing
from flambeau.nn import Module
from flambeau.vision.models import get_model_builder, list_models

# The size to which each family's images are enlarged where they are smaller (LeNet would take 4 x 4, and learn less).
SMALLEST = {"mlp": 1, "lenet": 16, "alexnet": 64, "vgg": 32, "mobilenet": 32, "resne": 32, "wide_resnet": 32}
ANY_CHANNELS = ("mlp", "lenet")  # the others want 3


def _family(name: str) -> str:
    return next((family for family in SMALLEST if name.startswith(family)), "")


def is_file(name: str) -> bool:
    return ".py:" in name or name.endswith(".py")


def choose_preprocessing(
    model: str, data_format: tuple[int, int, float, float], image_size: int | None
) -> Preprocessing:
    """Return the input format that suits both the data and the model."""
    size, channels, mean, std = data_format
    family = _family(model)
    if family and family not in ANY_CHANNELS:
        channels = 3
    if image_size is None:
        image_size = max(size, SMALLEST.get(family, 1))
    return Preprocessing(image_size, channels, mean, std)


def build_model(name: str, num_classes: int, preprocessing: Preprocessing) -> Module:
    """Build the network and try it on one blank image.

    Raises UserError for an unknown name, a file that cannot be used, or a network that does not take such images
    or does not answer with one score a class.
    """
    options = {
        "num_classes": num_classes,
        "in_channels": preprocessing.channels,
        "image_size": preprocessing.size,
    }
    maker = _from_file(name) if is_file(name) else _by_name(name)
    try:
        model = maker if isinstance(maker, Module) else maker(**_accepted(maker, options))
    except Exception as error:
        raise UserError(f"--model {name}: cannot be built: {reason(error)}") from error
    if not isinstance(model, Module):
        raise UserError(f"--model {name}: made a {type(model).__name__}, not an nn.Module")
    _try_out(name, model, num_classes, preprocessing)
    return model


def _by_name(name: str) -> Callable:
    if name not in list_models():
        raise UserError(f"--model {name}: unknown; use FILE.py:NAME or one of {', '.join(list_models())}")
    return get_model_builder(name)


def _from_file(spec: str) -> Any:
    """Run a user's file and return what it calls by the given name."""
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise UserError(f"--model {spec}: write FILE.py:NAME, with the name of a Module class or function")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"--model {spec}: there is no file {path}")
    compat.install()  # the file may be written for PyTorch
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(path.parent))
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"--model {spec}: {type(error).__name__} in {path}: {reason(error)}") from error
    finally:
        sys.path.remove(str(path.parent))
    if not hasattr(module, name):
        raise UserError(f"--model {spec}: {path} has no {name}")
    return getattr(module, name)


def _accepted(maker: Callable, options: dict[str, Any]) -> dict[str, Any]:
    """Return those options that the callable has parameters for."""
    parameters = inspect.signature(maker).parameters
    if is_open := any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        # torchvision's builders pass **kwargs on to the class, which knows num_classes only.
        options = {"num_classes": options["num_classes"]}
    return {key: value for key, value in options.items() if is_open or key in parameters}


def _try_out(name: str, model: Module, num_classes: int, preprocessing: Preprocessing) -> None:
    shape = tuple(preprocessing.shape)
    training = model.training
    try:
        with no_grad():
            output = model.eval()(ops.zeros(1, *shape))
    except Exception as error:
        raise UserError(f"--model {name}: does not take images of shape {shape}: {reason(error)}") from error
    finally:
        model.train(training)
    found = tuple(getattr(output, "shape", ()))
    if found != (1, num_classes):
        raise UserError(
            f"--model {name}: should give one score for each of the {num_classes} classes, a tensor of shape "
            f"(N, {num_classes}); for N = 1 it gives {found or type(output).__name__}"
        )
