"""The transform classes: random choices with recorded numbers of PyTorch's streams, printing, errors, pickling."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from PIL import Image

import flambeau as torch
from flambeau.vision import transforms as T
from flambeau.vision.transforms import functional as F

# -- random choices: each expectation was computed by PyTorch 2.13 with torchvision's sequence of draws --------


@pytest.mark.parametrize("seed, corner", [(0, (4, 7)), (1, (7, 3)), (2, (2, 19)), (3, (12, 8))])
def test_random_crop_draws(picture, seed, corner):
    torch.manual_seed(seed)
    assert T.RandomCrop.get_params(picture, (7, 9)) == (*corner, 7, 9)
    torch.manual_seed(seed)
    cropped = T.RandomCrop((7, 9))(picture)
    assert np.array_equal(cropped, np.asarray(F.crop(picture, *corner, 7, 9)))


@pytest.mark.parametrize(
    "seed, window", [(0, (1, 0, 17, 19)), (1, (1, 1, 15, 18)), (2, (0, 0, 20, 19)), (3, (5, 17, 8, 6))]
)
def test_random_resized_crop_draws(picture, seed, window):
    torch.manual_seed(seed)
    assert T.RandomResizedCrop.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) == window
    torch.manual_seed(seed)
    assert np.array_equal(T.RandomResizedCrop(8)(picture), F.resized_crop(picture, *window, (8, 8)))


def test_random_resized_crop_falls_back_to_the_middle(picture):
    wide = T.RandomResizedCrop.get_params(picture, (5.0, 6.0), (1.0, 1.0))
    assert wide == (0, 5, 20, 20)
    assert T.RandomResizedCrop.get_params(picture, (5.0, 6.0), (3.0, 4.0)) == (5, 0, 10, 30)
    assert T.RandomResizedCrop.get_params(picture, (5.0, 6.0), (1.0, 2.0)) == (0, 0, 20, 30)


FLIPS = {
    0: [True, False, True, True, True, False],
    1: [False, True, True, False, True, False],
    3: [True] * 6,
    5: [False, True, False, False, False, True],
}


@pytest.mark.parametrize("seed", FLIPS)
@pytest.mark.parametrize("kind, operation", [(T.RandomHorizontalFlip, F.hflip), (T.RandomVerticalFlip, F.vflip)])
def test_flip_draws(picture, seed, kind, operation):
    torch.manual_seed(seed)
    flip = kind()
    flipped = [not np.array_equal(flip(picture), picture) for _ in range(6)]
    assert flipped == FLIPS[seed]
    assert np.array_equal(kind(p=1.0)(picture), operation(picture))


def test_color_jitter_draws():
    jitter = T.ColorJitter(0.4, 0.3, 0.2, 0.1)
    expected = {
        0: ([0, 1, 3, 2], [0.7056244015693665, 0.8844536542892456, 1.0536315441131592, -0.0019813179969787598]),
        1: ([1, 3, 2, 0], [1.187747597694397, 0.7175689339637756, 1.1199434995651245, -0.02057253196835518]),
    }
    for seed, (order, factors) in expected.items():
        torch.manual_seed(seed)
        drawn, *values = jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        assert drawn.tolist() == order and values == factors


def test_color_jitter_applies_in_the_drawn_order(picture):
    torch.manual_seed(1)
    result = T.ColorJitter(0.4, 0.3, 0.2, 0.1)(picture)
    expected = F.adjust_contrast(picture, 0.7175689339637756)
    expected = F.adjust_hue(expected, -0.02057253196835518)
    expected = F.adjust_saturation(expected, 1.1199434995651245)
    assert np.array_equal(result, F.adjust_brightness(expected, 1.187747597694397))
    assert T.ColorJitter()(picture) is picture


@pytest.mark.parametrize("seed, angle", [(0, -0.22460460662841797), (1, 15.45789623260498)])
def test_rotation_draws(picture, seed, angle):
    torch.manual_seed(seed)
    assert T.RandomRotation.get_params([-30.0, 30.0]) == angle
    torch.manual_seed(seed)
    assert np.array_equal(T.RandomRotation(30, fill=5)(picture), F.rotate(picture, angle, fill=5))


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, (-0.07486820220947266, (2, -3), 0.8528122305870056, (-1.9257718324661255, 0.8044720888137817))),
        (1, (5.152631759643555, (-1, -1), 1.0938738584518433, (-4.707184314727783, 1.7991517782211304))),
    ],
)
def test_affine_draws(picture, seed, expected):
    affine = T.RandomAffine(10, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5, 5, -3, 3))
    torch.manual_seed(seed)
    how = affine.get_params(affine.degrees, affine.translate, affine.scale, affine.shear, [30, 20])
    assert how == expected
    torch.manual_seed(seed)
    assert np.array_equal(affine(picture), F.affine(picture, *expected))


@pytest.mark.parametrize(
    "seed, rectangle, first",
    [(0, (0, 13, 14, 7), -0.250579), (1, (5, 11, 9, 16), -0.653981), (2, (4, 2, 10, 13), -1.30419)],
)
def test_erasing_draws(seed, rectangle, first):
    torch.manual_seed(seed)
    *where, values = T.RandomErasing.get_params(torch.zeros(3, 20, 30), (0.02, 0.33), (0.3, 3.3), None)
    assert tuple(where) == rectangle
    assert values.shape == (3, *rectangle[2:]) and float(values[0, 0, 0]) == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize(
    "seed, ends", [(0, [[4, 3], [27, 0], [25, 17], [3, 15]]), (1, [[5, 5], [26, 2], [29, 15], [3, 19]])]
)
def test_perspective_draws(seed, ends):
    torch.manual_seed(seed)
    start, end = T.RandomPerspective.get_params(30, 20, 0.5)
    assert start == [[0, 0], [29, 0], [29, 19], [0, 19]] and end == ends


def test_python_random_transforms(picture):
    steps = [T.Lambda(lambda x: x + "a"), T.Lambda(lambda x: x + "b"), T.Lambda(lambda x: x + "c")]
    random.seed(0)
    order = [0, 1, 2]
    random.shuffle(order)
    chosen = random.choices(steps, weights=[1, 2, 3])[0]
    random.seed(0)
    assert T.RandomOrder(steps)("") == "".join("abc"[i] for i in order)
    assert T.RandomChoice(steps, p=[1, 2, 3])("") == chosen("")


def test_random_apply():
    add = T.Lambda(lambda x: x + 1)
    assert T.RandomApply([add, add], p=1.0)(0) == 2
    assert T.RandomApply([add], p=0.0)(0) == 0
    torch.manual_seed(0)
    assert [T.RandomApply([add], p=0.5)(0) for _ in range(6)] == [int(flip) for flip in FLIPS[0]]


# -- what they do ----------------------------------------------------------------------------------------------


def test_random_crop_padding(picture):
    assert T.RandomCrop(20, padding=4)(picture).size == (20, 20)
    assert T.RandomCrop((30, 40), pad_if_needed=True, padding_mode="edge")(picture).size == (40, 30)
    with pytest.raises(ValueError, match=r"Required crop size \(25, 25\) is larger than input image size \(20, 30\)"):
        T.RandomCrop(25)(picture)
    whole = torch.zeros(3, 5, 5)
    state = torch.get_rng_state()
    T.RandomCrop(5)(whole)
    assert torch.equal(torch.get_rng_state(), state)  # nothing to choose, nothing drawn


def test_erasing():
    image = torch.ones(3, 16, 16)
    torch.manual_seed(0)
    erased = T.RandomErasing(p=1.0, value=(1.0, 2.0, 3.0))(image)
    assert set(erased[1].unique().tolist()) == {1.0, 2.0} and image.min() == 1
    assert torch.equal(erased[0], image[0])
    assert T.RandomErasing(p=0.0)(image) is image
    inplace = T.RandomErasing(p=1.0, inplace=True)
    assert inplace(image) is image and image.min() == 0
    with pytest.raises(ValueError, match="either a single value or 3"):
        T.RandomErasing(p=1.0, value=[1, 2])(image)


def test_linear_transformation():
    matrix, mean = torch.rand(12, 12), torch.rand(12)
    image = torch.rand(2, 3, 2, 2)
    result = T.LinearTransformation(matrix, mean)(image)
    expected = (image.numpy().reshape(2, 12) - mean.numpy()) @ matrix.numpy()
    assert np.allclose(result.numpy().reshape(2, 12), expected, atol=1e-5)
    with pytest.raises(ValueError, match="transformation_matrix should be square"):
        T.LinearTransformation(torch.rand(3, 4), torch.rand(3))
    with pytest.raises(ValueError, match="incompatible shape"):
        T.LinearTransformation(matrix, mean)(torch.rand(3, 3, 3))


def test_grayscale(picture):
    assert T.Grayscale()(picture).mode == "L" and T.Grayscale(3)(picture).mode == "RGB"
    assert T.RandomGrayscale(p=1.0)(picture).mode == "RGB"


def test_crops(picture):
    stacked = torch.stack([T.ToTensor()(crop) for crop in T.TenCrop(8)(picture)])
    assert stacked.shape == (10, 3, 8, 8)
    assert [crop.size for crop in T.FiveCrop((4, 6))(picture)] == [(6, 4)] * 5
    assert T.CenterCrop([6])(picture).size == (6, 6)


def test_the_usual_pipeline(picture):
    pipeline = T.Compose(
        [
            T.Resize(32),
            T.RandomResizedCrop(24),
            T.RandomHorizontalFlip(),
            T.ColorJitter(0.1, 0.1, 0.1, 0.1),
            T.RandomAffine(5, (0.1, 0.1)),
            T.GaussianBlur(3),
            T.ToTensor(),
            T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            T.RandomErasing(),
        ]
    )
    torch.manual_seed(0)
    first = pipeline(picture)
    torch.manual_seed(0)
    assert first.shape == (3, 24, 24) and torch.equal(first, pipeline(picture))
    assert not torch.equal(first, pipeline(picture))


def test_modules_compose_in_sequential():
    steps = torch.nn.Sequential(T.CenterCrop(4), T.ConvertImageDtype(torch.float32), T.Normalize([0.0], [1.0]))
    assert steps(torch.full((1, 6, 6), 255, dtype=torch.uint8)).tolist() == [[[1.0] * 4] * 4]


def test_transforms_pickle():
    pipeline = T.Compose([T.RandomCrop(4, padding=1), T.ToTensor(), T.Normalize((0.5,), (0.5,)), T.RandomErasing()])
    assert repr(pickle.loads(pickle.dumps(pipeline))) == repr(pipeline)


# -- printing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform, text",
    [
        (T.ToTensor(), "ToTensor()"),
        (T.PILToTensor(), "PILToTensor()"),
        (T.ConvertImageDtype(torch.float32), "ConvertImageDtype()"),
        (T.ToPILImage(), "ToPILImage()"),
        (T.ToPILImage("RGB"), "ToPILImage(mode=RGB)"),
        (T.Normalize([0.5], [0.2]), "Normalize(mean=[0.5], std=[0.2])"),
        (T.Resize(256), "Resize(size=256, interpolation=bilinear, max_size=None, antialias=True)"),
        (T.CenterCrop(224), "CenterCrop(size=(224, 224))"),
        (T.Pad(2), "Pad(padding=2, fill=0, padding_mode=constant)"),
        (T.Lambda(len), "Lambda()"),
        (T.RandomCrop(32, padding=4), "RandomCrop(size=(32, 32), padding=4)"),
        (T.RandomHorizontalFlip(), "RandomHorizontalFlip(p=0.5)"),
        (T.RandomVerticalFlip(0.1), "RandomVerticalFlip(p=0.1)"),
        (T.RandomPerspective(), "RandomPerspective(p=0.5)"),
        (
            T.RandomResizedCrop(224),
            "RandomResizedCrop(size=(224, 224), scale=(0.08, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear, "
            "antialias=True)",
        ),
        (T.FiveCrop(8), "FiveCrop(size=(8, 8))"),
        (T.TenCrop(8), "TenCrop(size=(8, 8), vertical_flip=False)"),
        (
            T.RandomRotation(10),
            "RandomRotation(degrees=[-10.0, 10.0], interpolation=nearest, expand=False, fill=0)",
        ),
        (T.RandomAffine(5), "RandomAffine(degrees=[-5.0, 5.0])"),
        (
            T.RandomAffine(0, (0.1, 0.2), (0.5, 2), 3, T.InterpolationMode.BILINEAR, fill=1, center=(2, 3)),
            "RandomAffine(degrees=[0.0, 0.0], translate=(0.1, 0.2), scale=(0.5, 2), shear=[-3.0, 3.0], "
            "interpolation=bilinear, fill=1, center=(2, 3))",
        ),
        (
            T.ColorJitter(0.1, (0.5, 2.0)),
            "ColorJitter(brightness=(0.9, 1.1), contrast=(0.5, 2.0), saturation=None, hue=None)",
        ),
        (T.Grayscale(), "Grayscale(num_output_channels=1)"),
        (T.RandomGrayscale(), "RandomGrayscale(p=0.1)"),
        (T.RandomErasing(), "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False)"),
        (T.GaussianBlur(3), "GaussianBlur(kernel_size=(3, 3), sigma=(0.1, 2.0))"),
        (T.RandomInvert(), "RandomInvert(p=0.5)"),
        (T.RandomPosterize(2), "RandomPosterize(bits=2, p=0.5)"),
        (T.RandomSolarize(9.0), "RandomSolarize(threshold=9.0, p=0.5)"),
        (T.RandomAdjustSharpness(2), "RandomAdjustSharpness(sharpness_factor=2, p=0.5)"),
        (T.RandomAutocontrast(), "RandomAutocontrast(p=0.5)"),
        (T.RandomEqualize(), "RandomEqualize(p=0.5)"),
        (T.Compose([T.ToTensor()]), "Compose(\n    ToTensor()\n)"),
        (T.RandomApply([T.ToTensor()], 0.3), "RandomApply(\n    p=0.3\n    ToTensor()\n)"),
        (T.RandomOrder([T.ToTensor()]), "RandomOrder(\n    ToTensor()\n)"),
        (T.RandomChoice([T.ToTensor()]), "RandomChoice(\n    ToTensor()\n)(p=None)"),
    ],
)
def test_repr(transform, text):
    assert repr(transform) == text


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: T.Resize(3.5), TypeError, "Size should be int or sequence. Got <class 'float'>"),
        (lambda: T.Resize((1, 2, 3)), ValueError, "If size is a sequence, it should have 1 or 2 values"),
        (lambda: T.CenterCrop((1, 2, 3)), ValueError, "Please provide only two dimensions"),
        (lambda: T.Pad("a"), TypeError, "Got inappropriate padding arg"),
        (lambda: T.Pad((1, 2, 3)), ValueError, "not a 3 element tuple"),
        (lambda: T.Pad(1, padding_mode="x"), ValueError, "Padding mode should be"),
        (lambda: T.Lambda(3), TypeError, "Argument lambd should be callable, got 'int'"),
        (lambda: T.RandomOrder(3), TypeError, "Argument transforms should be a sequence"),
        (lambda: T.RandomRotation(-1), ValueError, "If degrees is a single number, it must be positive."),
        (lambda: T.RandomRotation((1, 2, 3)), ValueError, "degrees should be a sequence of length 2."),
        (lambda: T.RandomRotation(1, center=3), TypeError, "center should be a sequence of length 2."),
        (lambda: T.RandomRotation(1, fill={}), TypeError, "Fill should be either a sequence or a number."),
        (lambda: T.RandomAffine(1, (0.1, 2)), ValueError, "translation values should be between 0 and 1"),
        (lambda: T.RandomAffine(1, scale=(0, 1)), ValueError, "scale values should be positive"),
        (lambda: T.RandomAffine(1, shear=(1, 2, 3)), ValueError, "shear should be a sequence of length 2 or 4."),
        (lambda: T.ColorJitter(-1), ValueError, "If brightness is a single number, it must be non negative."),
        (lambda: T.ColorJitter(hue=0.7), ValueError, r"hue values should be between \(-0.5, 0.5\), but got"),
        (lambda: T.ColorJitter(contrast="a"), TypeError, "contrast should be a single number or a list/tuple"),
        (lambda: T.GaussianBlur(4), ValueError, "Kernel size value should be an odd and positive number."),
        (lambda: T.GaussianBlur(3, -1), ValueError, "If sigma is a single number, it must be positive."),
        (lambda: T.GaussianBlur(3, (2, 1)), ValueError, "sigma values should be positive and of the form"),
        (lambda: T.RandomErasing(value="zero"), ValueError, "If value is str, it should be 'random'"),
        (lambda: T.RandomErasing(p=2), ValueError, "Random erasing probability should be between 0 and 1"),
        (lambda: T.RandomErasing(scale=(0.5, 2)), ValueError, "Scale should be between 0 and 1"),
        (lambda: T.RandomResizedCrop(3, scale=1), TypeError, "Scale should be a sequence"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_reversed_ranges_warn():
    with pytest.warns(UserWarning, match=r"Scale and ratio should be of kind \(min, max\)"):
        T.RandomResizedCrop(3, scale=(1.0, 0.5))


# -- v2 --------------------------------------------------------------------------------------------------------


def test_v2_transforms_samples(picture):
    v2 = T.v2
    pipeline = v2.Compose([v2.RandomHorizontalFlip(p=1.0), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    image, label = pipeline(picture, 3)
    assert label == 3 and torch.equal(image, F.to_tensor(F.hflip(picture)))
    assert torch.equal(pipeline(picture), image)
    sample = v2.RandomHorizontalFlip(p=1.0)({"image": picture, "name": "x", "more": [1, (2,)]})
    assert np.array_equal(sample["image"], F.hflip(picture)) and sample["more"] == [1, (2,)]


def test_v2_changes_all_images_of_a_sample_alike(picture):
    crop = T.v2.RandomCrop(6)
    for seed in range(3):
        torch.manual_seed(seed)
        one, two = crop(picture, picture.copy())
        assert np.array_equal(one, two)
    image, target = T.v2.Normalize([0.5], [0.5])(torch.ones(1, 2, 2), torch.ones(2))
    assert torch.equal(image, torch.ones(1, 2, 2)) and torch.equal(target, torch.ones(2))
    assert torch.equal(T.v2.Normalize([0.0], [0.5])(torch.ones(1, 2, 2), 7)[0], torch.full((1, 2, 2), 2.0))


def test_v2_functional(picture):
    f = T.v2.functional
    assert f.get_size(picture) == [20, 30] and f.get_num_channels(picture) == 3
    assert f.to_image(np.zeros((4, 5, 3), np.uint8)).shape == (3, 4, 5)
    assert f.to_dtype(torch.tensor([255], dtype=torch.uint8), torch.float32, scale=True).item() == 1.0
    assert np.array_equal(f.horizontal_flip(picture), F.hflip(picture))
    with pytest.raises(TypeError, match="Input can either be a pure Tensor, a numpy array, or a PIL image"):
        f.to_image([1])


def test_v2_classes_keep_their_names():
    assert repr(T.v2.RandomCrop(4)) == "RandomCrop(size=(4, 4), padding=None)"
    assert T.v2.RandomCrop.__module__ == "flambeau.vision.transforms.v2"
    assert isinstance(pickle.loads(pickle.dumps(T.v2.Resize(4))), T.Resize)


def test_v2_lambda_and_own_transforms():
    double = T.v2.Lambda(lambda x: x * 2, int)
    assert double(2, "a", [3]) == (4, "a", [6])

    class Brighten(T.v2.Transform):
        def transform(self, inpt, params):
            return inpt + 1

    image, label = Brighten()(torch.zeros(1, 2, 2), 5)
    assert image.max() == 1 and label == 5


def test_images_of_other_kinds_are_refused():
    with pytest.raises(TypeError, match="img should be PIL Image"):
        T.RandomHorizontalFlip(p=1.0)(np.zeros((4, 4, 3)))
    assert isinstance(T.RandomHorizontalFlip(p=0.0)(Image.new("L", (2, 2))), Image.Image)


def test_v2_compose_prints_as_torchvision():
    pipeline = T.v2.Compose([T.v2.CenterCrop(4), T.v2.ToDtype(torch.float32, scale=True)])
    assert repr(pipeline) == (
        "Compose(\n      CenterCrop(size=(4, 4))\n      ToDtype(dtype=torch.float32, scale=True)\n)"
    )
