"""The image operations: conversions, and PIL images and tensors against NumPy, PIL and each other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import flambeau as torch
from flambeau.vision.transforms import InterpolationMode
from flambeau.vision.transforms import functional as F


def as_array(img) -> np.ndarray:
    """An image of either kind as an array of shape (C, H, W)."""
    if isinstance(img, Image.Image):
        array = np.asarray(img)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return img.numpy()


@pytest.fixture
def tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@pytest.fixture(params=["picture", "tensor"])
def image(request):
    return request.getfixturevalue(request.param)


# -- conversions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, dtype, channels, scaled",
    [
        ("L", torch.float32, 1, True),
        ("LA", torch.float32, 2, True),
        ("RGB", torch.float32, 3, True),
        ("RGBA", torch.float32, 4, True),
        ("CMYK", torch.float32, 4, True),
        ("YCbCr", torch.float32, 3, True),
        ("P", torch.float32, 1, True),
        ("1", torch.float32, 1, True),
        ("I", torch.int32, 1, False),
        ("F", torch.float32, 1, False),
    ],
)
def test_to_tensor_of_every_mode(picture, mode, dtype, channels, scaled):
    img = picture.convert("RGB" if mode in ("RGB", "YCbCr", "P", "CMYK") else "L").convert(mode)
    tensor = F.to_tensor(img)
    assert tensor.dtype == dtype and tensor.shape == (channels, 20, 30) and tensor.is_contiguous()
    values = np.asarray(img, dtype=np.float64)
    values = values * 255 if mode == "1" else values
    values = values if values.ndim == 3 else values[:, :, None]
    assert np.allclose(tensor.numpy(), values.transpose(2, 0, 1) / (255 if scaled else 1), atol=1e-6)


def test_to_tensor_of_16_bit_images():
    img = Image.fromarray(np.array([[1, 2, 300]], np.uint16))
    tensor = F.to_tensor(img)
    assert tensor.dtype == torch.int16 and tensor.tolist() == [[[1, 2, 300]]]


def test_to_tensor_of_arrays(pixels):
    assert np.array_equal(F.to_tensor(pixels).numpy(), np.float32(pixels.transpose(2, 0, 1)) / 255)
    assert F.to_tensor(pixels[:, :, 0]).shape == (1, 20, 30)
    floats = F.to_tensor(pixels.astype(np.float64))
    assert floats.dtype == torch.float64 and floats.max() > 1
    assert F.to_tensor(pixels[::-1]).shape == (3, 20, 30)


def test_to_tensor_follows_the_default_dtype(picture):
    torch.set_default_dtype(torch.float64)
    try:
        assert F.to_tensor(picture).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_to_tensor_refuses_other_things(tensor, pixels):
    with pytest.raises(TypeError, match="pic should be PIL Image or ndarray. Got <class 'flambeau"):
        F.to_tensor(tensor)
    with pytest.raises(ValueError, match="pic should be 2/3 dimensional. Got 1 dimensions."):
        F.to_tensor(pixels[0, :, 0])


def test_pil_to_tensor_copies(picture, pixels):
    tensor = F.pil_to_tensor(picture)
    assert tensor.dtype == torch.uint8 and np.array_equal(tensor.numpy(), pixels.transpose(2, 0, 1))
    tensor.zero_()
    assert np.array_equal(np.asarray(picture), pixels)
    assert F.pil_to_tensor(picture.convert("L")).shape == (1, 20, 30)
    with pytest.raises(TypeError, match="pic should be PIL Image"):
        F.pil_to_tensor(pixels)


@pytest.mark.parametrize(
    "shape, dtype, mode, expected",
    [
        ((1, 4, 5), np.uint8, None, "L"),
        ((4, 5), np.uint8, None, "L"),
        ((1, 4, 5), np.int16, None, "I;16"),
        ((1, 4, 5), np.int32, None, "I"),
        ((1, 4, 5), np.float32, "F", "F"),
        ((1, 4, 5), np.float32, None, "L"),
        ((2, 4, 5), np.uint8, None, "LA"),
        ((3, 4, 5), np.uint8, None, "RGB"),
        ((3, 4, 5), np.uint8, "YCbCr", "YCbCr"),
        ((3, 4, 5), np.uint8, "HSV", "HSV"),
        ((3, 4, 5), np.float64, None, "RGB"),
        ((4, 4, 5), np.uint8, None, "RGBA"),
        ((4, 4, 5), np.uint8, "CMYK", "CMYK"),
    ],
)
def test_to_pil_image_modes_and_values(shape, dtype, mode, expected):
    rng = np.random.default_rng(0)
    floating = np.issubdtype(dtype, np.floating)
    values = (rng.random(shape) if floating else rng.integers(0, 200, shape)).astype(dtype)
    img = F.to_pil_image(torch.from_numpy(values), mode)
    assert img.mode == expected and img.size == (5, 4)
    wanted = (values * 255).astype(np.uint8) if floating and mode != "F" else values
    assert np.array_equal(as_array(img), wanted.reshape(-1, 4, 5))
    if len(shape) == 3:
        from_array = F.to_pil_image(np.ascontiguousarray(values.transpose(1, 2, 0)), mode)
        assert np.array_equal(from_array, img)


def test_to_pil_image_errors(tensor, pixels):
    with pytest.raises(TypeError, match="pic should be Tensor or ndarray. Got <class 'list'>."):
        F.to_pil_image([1])
    with pytest.raises(ValueError, match="pic should be 2/3 dimensional. Got 4 dimensions."):
        F.to_pil_image(tensor[None])
    with pytest.raises(ValueError, match="pic should not have > 4 channels. Got 5 channels."):
        F.to_pil_image(torch.zeros(5, 2, 2))
    with pytest.raises(ValueError, match=r"Only modes \['RGB', 'YCbCr', 'HSV'\] are supported for 3D inputs"):
        F.to_pil_image(tensor, "L")
    with pytest.raises(ValueError, match="Incorrect mode .RGB. supplied for input type .* Should be L"):
        F.to_pil_image(tensor[:1], "RGB")
    with pytest.raises(TypeError, match="Input type int64 is not supported"):
        F.to_pil_image(torch.zeros(1, 2, 2, dtype=torch.int64))


def test_round_trip(picture):
    assert np.array_equal(F.to_pil_image(F.pil_to_tensor(picture)), picture)
    assert np.array_equal(F.to_pil_image(F.to_tensor(picture)), picture)


@pytest.mark.parametrize(
    "source, target, values, expected",
    [
        (torch.uint8, torch.float32, [0, 255, 51], [0.0, 1.0, 0.2]),
        (torch.float32, torch.uint8, [0.0, 1.0, 0.5, 0.999], [0, 255, 127, 255]),
        (torch.float32, torch.float64, [0.25], [0.25]),
        (torch.uint8, torch.int16, [0, 255], [0, 32640]),
        (torch.int16, torch.uint8, [32767, 128], [255, 1]),
        (torch.uint8, torch.int64, [1], [2**55]),
    ],
)
def test_convert_image_dtype(source, target, values, expected):
    result = F.convert_image_dtype(torch.tensor(values, dtype=source), target)
    assert result.dtype == target
    assert np.allclose(result.numpy(), expected, rtol=1e-6)


def test_convert_image_dtype_refuses_unsafe_casts():
    for source, target in (
        (torch.float32, torch.int32),
        (torch.float32, torch.int64),
        (torch.float64, torch.int64),
    ):
        with pytest.raises(RuntimeError, match="cannot be performed safely"):
            F.convert_image_dtype(torch.zeros(1, dtype=source), target)
    with pytest.raises(TypeError, match="Input img should be Tensor Image"):
        F.convert_image_dtype(np.zeros(3))


# -- normalising and erasing -----------------------------------------------------------------------------------


def test_normalize():
    image = torch.rand(2, 3, 4, 5)
    before = image.clone()
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    result = F.normalize(image, mean, std)
    expected = (before.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert np.allclose(result.numpy(), expected, atol=1e-6)
    assert torch.equal(image, before)
    tracked = F.normalize(image.clone().requires_grad_(), mean, std)
    assert torch.equal(tracked, result)
    tracked.sum().backward()
    assert F.normalize(image, mean, std, inplace=True) is image and torch.equal(image, result)


def test_normalize_errors(picture):
    with pytest.raises(TypeError, match="img should be Tensor Image. Got <class 'PIL"):
        F.normalize(picture, [0], [1])
    with pytest.raises(TypeError, match="Input tensor should be a float tensor. Got torch.uint8."):
        F.normalize(torch.zeros(3, 2, 2, dtype=torch.uint8), [0], [1])
    with pytest.raises(ValueError, match="Expected tensor to be a tensor image of size"):
        F.normalize(torch.zeros(2, 2), [0], [1])
    with pytest.raises(ValueError, match="std evaluated to zero after conversion to torch.float32"):
        F.normalize(torch.zeros(3, 2, 2), [0, 0, 0], [1, 0, 1])


def test_erase(tensor):
    result = F.erase(tensor, 2, 3, 4, 5, torch.zeros(1))
    assert result[:, 2:6, 3:8].sum() == 0
    untouched = result.numpy().copy()
    untouched[:, 2:6, 3:8] = tensor[:, 2:6, 3:8].numpy()
    assert np.array_equal(untouched, tensor.numpy())


# -- sizes -----------------------------------------------------------------------------------------------------


def test_dimensions(image):
    assert F.get_dimensions(image) == [3, 20, 30]
    assert F.get_image_size(image) == [30, 20]
    assert F.get_image_num_channels(image) == 3
    with pytest.raises(TypeError, match="img should be PIL Image. Got <class 'str'>"):
        F.get_dimensions("x")


def test_flips(image, pixels):
    planes = pixels.transpose(2, 0, 1)
    assert np.array_equal(as_array(F.hflip(image)), planes[:, :, ::-1])
    assert np.array_equal(as_array(F.vflip(image)), planes[:, ::-1])


@pytest.mark.parametrize("window", [(3, 4, 5, 6), (-2, -3, 10, 12), (15, 25, 10, 10), (-4, 5, 30, 4), (40, 3, 2, 2)])
def test_crop_pads_with_zeros_outside(image, pixels, window):
    top, left, height, width = window
    canvas = np.zeros((3, 120, 120), np.uint8)
    canvas[:, 50:70, 50:80] = pixels.transpose(2, 0, 1)
    expected = canvas[:, 50 + top : 50 + top + height, 50 + left : 50 + left + width]
    assert np.array_equal(as_array(F.crop(image, *window)), expected)


def test_center_crop(image, pixels):
    planes = pixels.transpose(2, 0, 1)
    assert np.array_equal(as_array(F.center_crop(image, 10)), planes[:, 5:15, 10:20])
    assert np.array_equal(as_array(F.center_crop(image, (5, 7))), planes[:, 8:13, 12:19])
    larger = as_array(F.center_crop(image, [25, 10]))
    assert larger.shape == (3, 25, 10)
    assert np.array_equal(larger[:, 2:22], planes[:, :, 10:20]) and not larger[:, 22:].any()


def test_five_and_ten_crop(image, pixels):
    planes = pixels.transpose(2, 0, 1)
    crops = [as_array(crop) for crop in F.five_crop(image, (4, 6))]
    corners = [planes[:, :4, :6], planes[:, :4, -6:], planes[:, -4:, :6], planes[:, -4:, -6:], planes[:, 8:12, 12:18]]
    assert all(np.array_equal(crop, corner) for crop, corner in zip(crops, corners)) and len(crops) == 5
    ten = [as_array(crop) for crop in F.ten_crop(image, 5, vertical_flip=True)]
    assert len(ten) == 10 and np.array_equal(ten[5], planes[:, ::-1][:, :5, :5])
    with pytest.raises(ValueError, match=r"Requested crop size \(40, 5\) is bigger than input size \(20, 30\)"):
        F.five_crop(image, (40, 5))


NUMPY_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("padding", [3, [4], (2, 5), (1, 2, 3, 4)])
def test_pad(image, pixels, mode, padding):
    amounts = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = amounts if len(amounts) == 4 else amounts * (4 // len(amounts))
    options = {"constant_values": 7} if mode == "constant" else {}
    expected = np.pad(pixels.transpose(2, 0, 1), ((0, 0), (top, bottom), (left, right)), NUMPY_MODES[mode], **options)
    assert np.array_equal(as_array(F.pad(image, padding, fill=7, padding_mode=mode)), expected)


def test_pad_longer_than_the_image_when_symmetric(pixels):
    small = pixels[:2, :3]
    expected = np.pad(small.transpose(2, 0, 1), ((0, 0), (5, 5), (7, 7)), "symmetric")
    tensor = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))
    assert np.array_equal(F.pad(tensor, (7, 5), padding_mode="symmetric").numpy(), expected)


def test_pad_of_palettes_keeps_them(picture):
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    for mode in ("constant", "edge"):
        padded = F.pad(palette, 2, padding_mode=mode)
        assert padded.mode == "P" and padded.getpalette() == palette.getpalette()
        assert np.array_equal(np.asarray(padded)[2:-2, 2:-2], np.asarray(palette))


def test_pad_errors(image):
    with pytest.raises(TypeError, match="Got inappropriate padding arg"):
        F.pad(image, "3")
    with pytest.raises(ValueError, match="Padding must be an int or a 1, 2, or 4 element tuple, not a 3 element tuple"):
        F.pad(image, (1, 2, 3))
    with pytest.raises(TypeError, match="Got inappropriate fill arg"):
        F.pad(image, 1, fill={})
    with pytest.raises(ValueError, match="Padding mode should be either constant, edge, reflect or symmetric"):
        F.pad(image, 1, padding_mode="wrap")


@pytest.mark.parametrize(
    "size, max_size, expected",
    [(10, None, (10, 15)), ([10], None, (10, 15)), ((7, 9), None, (7, 9)), (10, 12, (8, 12)), (20, None, (20, 30))],
)
def test_resize_sizes(image, size, max_size, expected):
    assert tuple(F.get_dimensions(F.resize(image, size, max_size=max_size))[1:]) == expected


@pytest.mark.parametrize("mode", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("size", [(9, 13), (33, 41)])
def test_tensors_are_resized_as_pil_images_are(picture, tensor, mode, size):
    ours = as_array(F.resize(tensor, size, mode)).astype(int)
    pil = as_array(F.resize(picture, size, mode)).astype(int)
    # PIL clips to bytes between its two passes, which shows where bicubic weights overshoot.
    assert (np.abs(ours - pil) > 1).mean() < 0.01 and np.abs(ours - pil).mean() < 0.5
    assert np.array_equal(pil, as_array(picture.resize(size[::-1], F.pil_modes_mapping[mode])))


def test_resize_nearest(tensor, pixels):
    result = F.resize(tensor, (10, 15), InterpolationMode.NEAREST).numpy()
    assert np.array_equal(result, pixels.transpose(2, 0, 1)[:, ::2, ::2])
    batch = F.resize(torch.stack([tensor, tensor + 1]), 10, 0)
    assert np.array_equal(batch[0].numpy(), result)


def test_resize_errors(image):
    with pytest.raises(TypeError, match="Argument interpolation should be a InterpolationMode"):
        F.resize(image, 10, "bilinear")
    with pytest.raises(ValueError, match="Size must be an int or a 1 or 2 element tuple/list, not a 3 element"):
        F.resize(image, (1, 2, 3))
    with pytest.raises(ValueError, match="max_size should only be passed if size specifies"):
        F.resize(image, (5, 5), max_size=4)
    with pytest.raises(ValueError, match="must be strictly greater than the requested size"):
        F.resize(image, 10, max_size=10)


def test_resized_crop(image):
    expected = F.resize(F.crop(image, 2, 3, 8, 9), (5, 6))
    assert np.array_equal(as_array(F.resized_crop(image, 2, 3, 8, 9, (5, 6))), as_array(expected))


# -- turning and warping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle, turns", [(90, 1), (180, 2), (-90, 3), (270, 3)])
def test_rotate_by_right_angles_is_exact(image, pixels, angle, turns):
    expected = np.rot90(pixels.transpose(2, 0, 1), turns, axes=(1, 2))
    assert np.array_equal(as_array(F.rotate(image, angle, expand=True)), expected)


@pytest.mark.parametrize("angle", [13.0, -41.5, 160.0])
@pytest.mark.parametrize("options", [{}, {"expand": True}, {"center": (4, 6)}, {"fill": (200, 10, 30)}])
def test_tensors_turn_as_pil_images_do(picture, tensor, angle, options):
    ours, pil = as_array(F.rotate(tensor, angle, **options)), as_array(F.rotate(picture, angle, **options))
    assert ours.shape == pil.shape
    assert (ours != pil).any(axis=0).mean() < 0.03  # ties between pixels may fall either way


@pytest.mark.parametrize(
    "how",
    [
        (0.0, (4, -3), 1.0, (0.0, 0.0)),
        (25.0, (0, 0), 0.7, (10.0, 0.0)),
        (-60.0, (2, 5), 1.4, (-15.0, 20.0)),
    ],
)
def test_affine_of_tensors_and_pil_images(picture, tensor, how):
    for fill in (None, [9.0, 8.0, 7.0]):
        ours, pil = as_array(F.affine(tensor, *how, fill=fill)), as_array(F.affine(picture, *how, fill=fill))
        assert (ours != pil).any(axis=0).mean() < 0.03


def test_affine_translation_is_a_shift(image, pixels):
    result = as_array(F.affine(image, 0, [3, 2], 1.0, 0.0))
    assert np.array_equal(result[:, 2:, 3:], pixels.transpose(2, 0, 1)[:, :-2, :-3])
    assert not result[:, :2].any() and not result[:, :, :3].any()


def test_affine_errors(image):
    with pytest.raises(TypeError, match="Argument angle should be int or float"):
        F.affine(image, "1", [0, 0], 1.0, 0.0)
    with pytest.raises(TypeError, match="Argument translate should be a sequence"):
        F.affine(image, 1, 0, 1.0, 0.0)
    with pytest.raises(ValueError, match="Argument translate should be a sequence of length 2"):
        F.affine(image, 1, [0], 1.0, 0.0)
    with pytest.raises(ValueError, match="Argument scale should be positive"):
        F.affine(image, 1, [0, 0], 0.0, 0.0)
    with pytest.raises(ValueError, match="Shear should be a sequence containing two values"):
        F.affine(image, 1, [0, 0], 1.0, (1, 2, 3))
    with pytest.raises(TypeError, match="Argument center should be a sequence"):
        F.rotate(image, 1, center=3)


def test_tensors_refuse_what_only_pil_can(tensor):
    with pytest.raises(ValueError, match="Interpolation mode 'bicubic' is unsupported with Tensor input"):
        F.rotate(tensor, 10, InterpolationMode.BICUBIC)
    with pytest.raises(ValueError, match="cannot broadcast to match the number of channels"):
        F.rotate(tensor, 10, fill=[1, 2])


CORNERS = [[0, 0], [29, 0], [29, 19], [0, 19]]


def test_perspective_of_nothing_is_the_image(image, pixels):
    result = as_array(F.perspective(image, CORNERS, CORNERS, InterpolationMode.NEAREST))
    assert np.array_equal(result, pixels.transpose(2, 0, 1))


def test_perspective_of_tensors_and_pil_images(picture, tensor):
    target = [[3, 1], [26, 4], [29, 17], [1, 15]]
    ours = as_array(F.perspective(tensor, CORNERS, target, InterpolationMode.NEAREST))
    pil = as_array(F.perspective(picture, CORNERS, target, InterpolationMode.NEAREST))
    assert (ours != pil).any(axis=0).mean() < 0.03
    a, b, c, d, e, f, g, h = F._get_perspective_coeffs(CORNERS, target)
    for (x, y), (u, v) in zip(target, CORNERS):
        w = g * x + h * y + 1
        assert ((a * x + b * y + c) / w, (d * x + e * y + f) / w) == pytest.approx((u, v), abs=1e-3)
    with pytest.raises(ValueError, match="Please provide exactly four corners, got 3 startpoints and 4 endpoints."):
        F.perspective(tensor, CORNERS[:3], target)


# -- colour and filters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, args, tolerance",
    [
        ("adjust_brightness", (1.6,), 1),
        ("adjust_brightness", (0.3,), 1),
        ("adjust_contrast", (0.4,), 1),
        ("adjust_contrast", (1.7,), 2),
        ("adjust_saturation", (0.2,), 1),
        ("adjust_saturation", (1.9,), 2),
        ("adjust_hue", (0.2,), 12),
        ("adjust_hue", (-0.37,), 12),
        ("adjust_gamma", (0.5,), 1),
        ("adjust_gamma", (2.2, 0.9), 1),
        ("adjust_sharpness", (0.0,), 1),
        ("adjust_sharpness", (2.0,), 2),
        ("rgb_to_grayscale", (), 1),
        ("rgb_to_grayscale", (3,), 1),
        ("invert", (), 0),
        ("posterize", (3,), 0),
        ("posterize", (1,), 0),
        ("posterize", (8,), 0),
        ("solarize", (100,), 0),
        ("autocontrast", (), 1),
        ("equalize", (), 0),
    ],
)
def test_colours_of_tensors_and_pil_images(picture, tensor, name, args, tolerance):
    operation = getattr(F, name)
    ours, pil = as_array(operation(tensor, *args)).astype(int), as_array(operation(picture, *args)).astype(int)
    assert ours.shape == pil.shape
    assert np.abs(ours - pil).max() <= tolerance
    assert name == "posterize" or ours.std() > 0  # and it is no blank image that agrees


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_sharpness"])
def test_factor_one_changes_nothing(image, name):
    assert np.array_equal(as_array(getattr(F, name)(image, 1.0)), as_array(image))


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_sharpness"])
def test_negative_factors_are_refused(tensor, name):
    with pytest.raises(ValueError, match=r"_factor \(-1\) is not non-negative."):
        getattr(F, name)(tensor, -1)


def test_colour_errors(image):
    with pytest.raises(ValueError, match=r"hue_factor \(0.6\) is not in \[-0.5, 0.5\]."):
        F.adjust_hue(image, 0.6)
    with pytest.raises(ValueError, match="Gamma should be a non-negative real number"):
        F.adjust_gamma(image, -1)
    with pytest.raises(ValueError, match="num_output_channels should be either 1 or 3"):
        F.rgb_to_grayscale(image, 2)
    with pytest.raises(ValueError, match="The number if bits should be between 0 and 8. Got 9"):
        F.posterize(image, 9)


def test_float_images_keep_to_0_1():
    image = torch.rand(3, 6, 7)
    bright = F.adjust_brightness(image, 3.0)
    assert bright.max() == 1.0 and bright.dtype == torch.float32
    assert torch.allclose(F.invert(image), 1 - image)
    hue = F.adjust_hue(F.adjust_hue(image, 0.3), -0.3)
    assert torch.allclose(hue, image, atol=1e-5)
    stretched = F.autocontrast(image)
    assert stretched.amin((1, 2)).tolist() == [0.0] * 3 and torch.allclose(stretched.amax((1, 2)), torch.ones(3))


def test_gray_images_pass_through():
    gray = torch.randint(0, 256, (1, 6, 7)).to(torch.uint8)
    assert F.adjust_hue(gray, 0.3) is gray and F.adjust_saturation(gray, 2.0) is gray
    assert F.rgb_to_grayscale(gray, 3).shape == (3, 6, 7)
    flat = torch.full((3, 4, 4), 9, dtype=torch.uint8)
    assert torch.equal(F.autocontrast(flat), flat) and torch.equal(F.equalize(flat), flat)


def gaussian_reference(plane: np.ndarray, size: int, sigma: float) -> np.ndarray:
    x = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(plane.astype(float), size // 2, "reflect")
    rows = sum(w * padded[i : i + plane.shape[0]] for i, w in enumerate(weights))
    return sum(w * rows[:, i : i + plane.shape[1]] for i, w in enumerate(weights))


def test_gaussian_blur(image, pixels):
    result = as_array(F.gaussian_blur(image, 5, 1.3)).astype(float)
    expected = np.stack([gaussian_reference(plane, 5, 1.3) for plane in pixels.transpose(2, 0, 1)])
    assert np.abs(result - expected).max() <= 0.51
    assert isinstance(F.gaussian_blur(image, [3, 5]), type(image))


def test_gaussian_blur_errors(image):
    with pytest.raises(ValueError, match=r"kernel_size should have odd and positive integers. Got \[4, 4\]"):
        F.gaussian_blur(image, 4)
    with pytest.raises(ValueError, match=r"sigma should have positive values. Got \[-1.0, -1.0\]"):
        F.gaussian_blur(image, 3, -1)
    with pytest.raises(TypeError, match="kernel_size should be int or a sequence of integers"):
        F.gaussian_blur(image, "3")


def test_gradients_flow_through():
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    turned = F.rotate(F.gaussian_blur(image, 3), 20, InterpolationMode.BILINEAR)
    result = F.adjust_contrast(F.resize(turned, (5, 5)), 0.8)
    F.normalize(result, [0.5] * 3, [0.2] * 3).square().sum().backward()
    assert image.grad.shape == image.shape and image.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 3, 8, 9)])
def test_batches_are_treated_image_by_image(shape):
    torch.manual_seed(0)
    batch = torch.randint(0, 256, shape).to(torch.uint8)
    for operation in (
        lambda img: F.adjust_contrast(img, 0.5),
        lambda img: F.gaussian_blur(img, 3, 1.0),
        lambda img: F.rotate(img, 30, fill=[1.0, 2.0, 3.0]),
        lambda img: F.equalize(img),
        lambda img: F.adjust_hue(img, 0.1),
        lambda img: F.resize(img, (4, 5)),
    ):
        result = operation(batch)
        if len(shape) == 4:
            assert torch.equal(result, torch.stack([operation(img) for img in batch]))
        else:
            assert result.dtype == torch.uint8 and result.ndim == 3
