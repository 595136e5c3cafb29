"""Vision beside PyTorch: the same seeds give the same models, and image operations agree with PyTorch's own kernels.

torchvision is not needed: a model's twin is made from the model's own source, with PyTorch in Flambeau's place.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types

import numpy as np
import pytest
import torch

import flambeau
from flambeau.vision import models
from flambeau.vision import transforms as T
from flambeau.vision.transforms import InterpolationMode
from flambeau.vision.transforms import functional as F

TF = torch.nn.functional

REPLACED = {
    "from flambeau import nn, ops\n": "from torch import nn\nimport torch as ops\n",
    "from flambeau import nn\n": "from torch import nn\n",
    "from flambeau.nn import ": "from torch.nn import ",
    "from flambeau.tensors import Tensor": "from torch import Tensor",
    "from flambeau.vision.models._utils import classifier": "classifier = lambda *a: None",
    "from flambeau.vision.models._utils import _make_divisible, classifier": (
        "from flambeau.vision.models._utils import _make_divisible\nclassifier = lambda *a: None"
    ),
    "from flambeau.vision.models._utils import _ovewrite_named_param, classifier": (
        "from flambeau.vision.models._utils import _ovewrite_named_param\nclassifier = lambda *a: None"
    ),
    "from flambeau.vision.models._api import register_model": "register_model = lambda: lambda builder: builder",
}


def twin(name: str) -> types.ModuleType:
    """The module `flambeau.vision.<name>` with PyTorch's layers."""
    source = inspect.getsource(importlib.import_module(f"flambeau.vision.{name}"))
    for ours, theirs in REPLACED.items():
        source = source.replace(ours, theirs)
    module = types.ModuleType(f"twin_{name.rpartition('.')[2]}")
    if "from flambeau.vision.ops.misc import " in source:
        source = re.sub(r"from flambeau.vision.ops.misc import .*", "", source)
        vars(module).update({k: v for k, v in vars(twin("ops.misc")).items() if not k.startswith("_")})
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    return module


def initialized_layers(module):
    """VGG's convolutions, initialised as VGG does; the 100 million weights behind them would take their time."""
    layers = module.make_layers([8, "M", 16, 16, "M"], batch_norm=True)
    module.VGG._init_weights(layers)
    return layers


MODELS = [
    ("lenet", lambda m: m.LeNet(), (2, 3, 32, 32)),
    ("lenet", lambda m: m.LeNet(in_channels=1, image_size=8), (2, 1, 8, 8)),
    ("resnet", lambda m: m.ResNet(m.BasicBlock, [2, 2, 2, 2], num_classes=10), (2, 3, 32, 32)),
    (
        "resnet",
        lambda m: m.ResNet(
            m.Bottleneck, [1, 2, 1, 1], num_classes=5, groups=2, width_per_group=32, zero_init_residual=True
        ),
        (2, 3, 40, 40),
    ),
    ("mobilenetv2", lambda m: m.MobileNetV2(num_classes=5, width_mult=0.35, dropout=0.0), (2, 3, 32, 32)),
    ("densenet", lambda m: m.DenseNet(8, (2, 3), 16, num_classes=4), (2, 3, 40, 40)),
    ("squeezenet", lambda m: m.SqueezeNet("1_1", num_classes=4, dropout=0.0), (2, 3, 48, 48)),
    ("mobilenetv3", lambda m: m.MobileNetV3(m._blocks(m.SMALL[:5], 0.5, False, False), 24, 4, dropout=0.0), (2, 3, 40, 40)),
    (
        "vision_transformer",
        lambda m: m.VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=4, representation_size=8),
        (2, 3, 32, 32),
    ),
    ("vgg", lambda m: initialized_layers(m), (2, 3, 16, 16)),
    ("alexnet", lambda m: m.AlexNet(num_classes=4).features, (2, 3, 64, 64)),
]


@pytest.mark.parametrize("name, build, shape", MODELS, ids=[f"{m[0]}-{i}" for i, m in enumerate(MODELS)])
def test_same_seed_same_model(name, build, shape):
    module = importlib.import_module(f"flambeau.vision.models.{name}")
    flambeau.manual_seed(3)
    ours = build(module)
    torch.manual_seed(3)
    theirs = build(twin(f"models.{name}"))

    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        assert np.array_equal(state[key].numpy(), value.numpy()), key

    # In double precision: normalising over a few values would blow single precision's rounding up.
    image = np.random.default_rng(0).standard_normal(shape)
    output, wanted = ours.double()(flambeau.from_numpy(image)), theirs.double()(torch.from_numpy(image))
    np.testing.assert_allclose(output.detach().numpy(), wanted.detach().numpy(), rtol=1e-7, atol=1e-9)
    output.square().mean().backward()
    wanted.square().mean().backward()
    for (key, parameter), reference in zip(ours.named_parameters(), theirs.parameters()):
        bound = 1e-8 * float(reference.grad.abs().max()) + 1e-12
        np.testing.assert_allclose(parameter.grad.numpy(), reference.grad.numpy(), rtol=0, atol=bound, err_msg=key)


def test_torchvision_resnet18_statistics_of_weights():
    """The sum of all ResNet-18 weights under seed 0, as PyTorch's generator and initialisers give it."""
    torch.manual_seed(0)
    reference = twin("models.resnet")
    expected = reference.ResNet(reference.BasicBlock, [2, 2, 2, 2])
    flambeau.manual_seed(0)
    ours = models.resnet18()
    assert np.array_equal(ours.fc.weight.detach().numpy(), expected.fc.weight.detach().numpy())
    assert flambeau.rand(1).item() == torch.rand(1).item()  # and the streams stand at the same place


# -- image operations ------------------------------------------------------------------------------------------


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (3, 23, 31), np.uint8)


def compare(ours, theirs, tolerance=0):
    assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype)
    difference = np.abs(ours.numpy().astype(np.float64) - theirs.numpy().astype(np.float64))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(11, 17), (46, 40), (23, 12)])
def test_resize(image, mode, antialias, size):
    smooth = mode in ("bilinear", "bicubic")
    floats = torch.from_numpy(image).float()[None]
    expected = TF.interpolate(
        floats, size, mode=mode, antialias=antialias and smooth, align_corners=False if smooth else None
    )[0]
    ours = F.resize(flambeau.from_numpy(image).float(), size, InterpolationMode(mode), antialias=antialias)
    compare(ours, expected, 1e-3)
    rounded = F.resize(flambeau.from_numpy(image), size, InterpolationMode(mode), antialias=antialias)
    compare(rounded.float(), expected.clamp(0, 255), 0.502)


def torch_affine(image, matrix, mode, fill, out_size=None):
    """torchvision's affine of a tensor, through PyTorch's affine_grid conventions and grid_sample."""
    height, width = image.shape[-2:]
    out_height, out_width = out_size or (height, width)
    y, x = torch.meshgrid(
        torch.arange(out_height) + 0.5 - out_height / 2, torch.arange(out_width) + 0.5 - out_width / 2, indexing="ij"
    )
    points = torch.stack([x, y, torch.ones_like(x)], -1)
    theta = torch.tensor(matrix).view(2, 3).t() / torch.tensor([0.5 * width, 0.5 * height])
    grid = (points @ theta)[None]
    source = torch.from_numpy(image).float()[None]
    covered = torch.cat([source, torch.ones(1, 1, height, width)], 1)
    result = TF.grid_sample(covered, grid, mode=mode, padding_mode="zeros", align_corners=False)
    inside = result[:, -1:]
    colour = torch.tensor(fill).view(1, -1, 1, 1)
    result = result[:, :-1]
    if mode == "nearest":
        return torch.where(inside < 0.5, colour.expand_as(result), result)[0]
    return (result * inside + (1 - inside) * colour)[0]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("how", [(17.0, (3, -2), 1.2, (5.0, -8.0)), (-95.0, (0, 0), 0.6, (0.0, 0.0))])
def test_affine(image, mode, how):
    matrix = F._get_inverse_affine_matrix([0.0, 0.0], *how)
    expected = torch_affine(image, matrix, mode, [10.0, 20.0, 30.0])
    ours = F.affine(
        flambeau.from_numpy(image).float(), *how, interpolation=InterpolationMode(mode), fill=[10.0, 20.0, 30.0]
    )
    difference = np.abs(ours.numpy() - expected.numpy())
    if mode == "bilinear":
        assert difference.max() < 0.02
    else:
        assert (difference > 0).mean() < 0.005  # ties between two pixels


def test_gaussian_blur(image):
    x = torch.arange(5) - 2.0
    weights = torch.exp(-0.5 * (x / 1.1) ** 2)
    weights /= weights.sum()
    kernel = (weights[:, None] * weights).expand(3, 1, 5, 5)
    padded = TF.pad(torch.from_numpy(image).float()[None], [2] * 4, mode="reflect")
    expected = TF.conv2d(padded, kernel, groups=3)[0]
    compare(F.gaussian_blur(flambeau.from_numpy(image).float(), 5, 1.1), expected, 1e-3)
    compare(F.gaussian_blur(flambeau.from_numpy(image), 5, 1.1).float(), expected.round(), 1)


@pytest.mark.parametrize("padding_mode, torch_mode", [("edge", "replicate"), ("reflect", "reflect")])
def test_pad(image, padding_mode, torch_mode):
    expected = TF.pad(torch.from_numpy(image).float()[None], [3, 5, 4, 6], mode=torch_mode)[0]
    compare(F.pad(flambeau.from_numpy(image).float(), [3, 4, 5, 6], padding_mode=padding_mode), expected)


def test_grayscale_and_blends(image):
    reference = torch.from_numpy(image)
    r, g, b = reference.unbind(0)
    gray = (0.2989 * r + 0.587 * g + 0.114 * b).to(torch.uint8)
    ours = flambeau.from_numpy(image)
    compare(F.rgb_to_grayscale(ours)[0], gray)
    for factor in (0.3, 1.0, 1.8):
        mean = gray.float().mean()
        expected = (factor * reference + (1 - factor) * mean).clamp(0, 255).to(torch.uint8)
        compare(F.adjust_contrast(ours, factor), expected, 1)
        expected = (factor * reference + (1 - factor) * gray).clamp(0, 255).to(torch.uint8)
        compare(F.adjust_saturation(ours, factor), expected)
        expected = (factor * reference).clamp(0, 255).to(torch.uint8)
        compare(F.adjust_brightness(ours, factor), expected)


def test_random_streams_of_transforms(image):
    """A chain of random transforms leaves the stream where the same draws leave PyTorch's."""
    tensor = flambeau.from_numpy(image)
    flambeau.manual_seed(11)
    T.RandomHorizontalFlip()(tensor)
    T.RandomCrop(16)(tensor)
    T.ColorJitter(0.1, 0.2, 0.3, 0.1)(tensor)
    T.RandomRotation(10)(tensor)
    after = flambeau.rand(3).numpy()

    torch.manual_seed(11)
    torch.rand(1)
    torch.randint(0, 8, (1,))
    torch.randint(0, 16, (1,))
    torch.randperm(4)
    for low, high in ((0.9, 1.1), (0.8, 1.2), (0.7, 1.3), (-0.1, 0.1), (-10.0, 10.0)):
        torch.empty(1).uniform_(low, high)
    assert np.array_equal(after, torch.rand(3).numpy())
