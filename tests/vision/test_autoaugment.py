"""Augmentation policies: the operations they draw (recorded from PyTorch's streams), and what those do."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import transforms as T
from flambeau.vision.transforms import autoaugment
from flambeau.vision.transforms import functional as F


@pytest.fixture
def drawn(monkeypatch):
    """What was applied, as (operation, magnitude), while every operation does nothing."""
    calls = []

    def recorder(name):
        def record(img, magnitude, mode, fill):
            calls.append((name, round(magnitude, 5)))
            return img

        return record

    monkeypatch.setattr(autoaugment, "OPERATIONS", {name: recorder(name) for name in autoaugment.OPERATIONS})
    return calls


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, [("TranslateY", -2.71903), ("Color", 0.27), ("ShearX", -0.09), ("Equalize", 0.0)]),
        (1, [("Color", -0.27), ("TranslateY", 2.71903), ("TranslateX", -4.07855), ("Color", -0.27)]),
    ],
)
def test_rand_augment_draws(drawn, picture, seed, expected):
    torch.manual_seed(seed)
    T.RandAugment(num_ops=4)(picture)
    assert [name for name, _ in drawn] == [name for name, _ in expected]
    assert [value for _, value in drawn] == pytest.approx([value for _, value in expected], abs=2e-5)


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, [("TranslateY", -32.0), ("ShearY", -0.891), ("Equalize", 0.0), ("TranslateX", -27.73333)]),
        (1, [("Color", 0.825), ("Posterize", 7.0), ("Equalize", 0.0), ("Color", -0.099)]),
    ],
)
def test_trivial_augment_draws(drawn, picture, seed, expected):
    torch.manual_seed(seed)
    transform = T.TrivialAugmentWide()
    for _ in range(4):
        transform(picture)
    assert [name for name, _ in drawn] == [name for name, _ in expected]
    assert [value for _, value in drawn] == pytest.approx([value for _, value in expected], abs=2e-5)


def test_auto_augment_draws(drawn, picture):
    assert [len(autoaugment._parsed(policy)) for policy in autoaugment.POLICIES.values()] == [25] * 3
    transform = T.AutoAugment(T.AutoAugmentPolicy.CIFAR10)
    torch.manual_seed(1)
    which, chances, signs = transform.get_params(25)
    assert (which, signs.tolist()) == (20, [0, 1])
    assert chances.tolist() == pytest.approx([0.2793108820915222, 0.40306925773620605])
    # Pair 20 is (Solarize 0.4 5, AutoContrast 0.9): both chances are below.
    torch.manual_seed(1)
    transform(picture)
    assert drawn == [("Solarize", pytest.approx(255 - 5 * 255 / 9, abs=1e-4)), ("AutoContrast", 0.0)]
    drawn.clear()
    # Pair 19 is (Brightness 0.1 3, Color 0.7 0); the chances 0.768 and 0.088 leave the first out.
    torch.manual_seed(0)
    transform(picture)
    assert drawn == [("Color", 0.0)]


@pytest.mark.parametrize("name", [name for name in autoaugment.OPERATIONS if name != "Identity"])
@pytest.mark.parametrize("magnitude", [3.3, 5.0])
def test_every_operation_changes_an_image_and_keeps_its_kind(picture, name, magnitude):
    operation = autoaugment.OPERATIONS[name]
    result = operation(picture, magnitude, T.InterpolationMode.NEAREST, None)
    assert result.size == picture.size and result.mode == "RGB"
    tensor = operation(F.pil_to_tensor(picture), magnitude, T.InterpolationMode.NEAREST, None)
    assert tensor.dtype == torch.uint8 and tensor.shape == (3, 20, 30)
    assert not np.array_equal(result, picture)


def test_shears_keep_the_upper_left_corner(picture):
    sheared = autoaugment.OPERATIONS["ShearX"](picture, 0.5, T.InterpolationMode.NEAREST, None)
    assert np.array_equal(np.asarray(sheared)[0], np.asarray(picture)[0])


def test_repr_and_errors():
    assert repr(T.AutoAugment()) == "AutoAugment(policy=AutoAugmentPolicy.IMAGENET, fill=None)"
    assert repr(T.RandAugment()) == (
        "RandAugment(num_ops=2, magnitude=9, num_magnitude_bins=31, interpolation=InterpolationMode.NEAREST, fill=None)"
    )
    with pytest.raises(ValueError, match="The provided policy mnist is not recognized."):
        T.AutoAugment("mnist")
