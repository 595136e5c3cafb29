"""Grids, image files, drawing, image reading and box operations."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import flambeau as torch
from flambeau import vision
from flambeau.vision import ops, utils
from flambeau.vision.io import ImageReadMode, decode_image, encode_jpeg, read_image, write_jpeg, write_png

# -- make_grid and save_image ----------------------------------------------------------------------------------


def test_grid_layout():
    batch = torch.arange(1.0, 6.0).reshape(5, 1, 1, 1).expand(5, 3, 2, 3)
    grid = utils.make_grid(batch, nrow=3, padding=1, pad_value=9.0)
    assert grid.shape == (3, 7, 13)
    assert grid[0].tolist() == [
        [9.0] * 13,
        [9, 1, 1, 1, 9, 2, 2, 2, 9, 3, 3, 3, 9],
        [9, 1, 1, 1, 9, 2, 2, 2, 9, 3, 3, 3, 9],
        [9.0] * 13,
        [9, 4, 4, 4, 9, 5, 5, 5, 9, 9, 9, 9, 9],
        [9, 4, 4, 4, 9, 5, 5, 5, 9, 9, 9, 9, 9],
        [9.0] * 13,
    ]


def test_grid_of_single_gray_and_listed_images():
    assert utils.make_grid(torch.zeros(4, 5)).shape == (3, 4, 5)
    assert utils.make_grid(torch.zeros(1, 4, 5)).shape == (3, 4, 5)
    assert utils.make_grid([torch.zeros(1, 4, 5)] * 3).shape == (3, 8, 23)
    assert utils.make_grid(torch.zeros(2, 4, 4, 4), padding=0).shape == (4, 4, 8)
    bytes_grid = utils.make_grid(torch.full((2, 3, 2, 2), 7, dtype=torch.uint8))
    assert bytes_grid.dtype == torch.uint8 and bytes_grid.max() == 7


def test_grid_normalizes():
    batch = torch.tensor([0.0, 1.0, 2.0, 5.0]).reshape(2, 1, 1, 2)
    kept = batch.clone()

    def values(**options):
        grid = utils.make_grid(batch, normalize=True, padding=0, **options)
        return grid[0, 0].tolist()

    assert values() == pytest.approx([0, 0.2, 0.4, 1.0])
    assert values(value_range=(1, 3)) == pytest.approx([0, 0, 0.5, 1.0])
    assert values(scale_each=True) == pytest.approx([0, 1, 0, 1])
    assert torch.equal(batch, kept)
    with pytest.raises(TypeError, match="value_range has to be a tuple"):
        values(value_range=[1, 3])


def test_grid_errors():
    with pytest.raises(TypeError, match="tensor or list of tensors expected, got <class 'numpy.ndarray'>"):
        utils.make_grid(np.zeros((2, 3, 4, 4)))
    with pytest.raises(TypeError, match="got a list containing <class 'int'>"):
        utils.make_grid([1])


def test_save_image(tmp_path):
    image = torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0, 0.999]).reshape(1, 2, 3)
    utils.save_image(image, tmp_path / "a.png")
    saved = np.asarray(Image.open(tmp_path / "a.png"))
    assert saved.shape == (2, 3, 3)
    assert saved[:, :, 0].tolist() == [[0, 128, 255], [255, 0, 255]]
    buffer = io.BytesIO()
    utils.save_image([image, image], buffer, format="PNG", nrow=1, padding=1)
    assert Image.open(buffer).size == (5, 7)


def test_save_image_with_gradients(tmp_path):
    utils.save_image(torch.rand(2, 3, 4, 4, requires_grad=True), str(tmp_path / "a.jpg"))
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"


# -- drawing ---------------------------------------------------------------------------------------------------


def test_draw_bounding_boxes():
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    drawn = utils.draw_bounding_boxes(image, torch.tensor([[2, 3, 10, 12]]), colors="red", width=1)
    assert drawn[:, 3, 5].tolist() == [255, 0, 0] and drawn[:, 12, 10].tolist() == [255, 0, 0]
    assert drawn[:, 6, 6].tolist() == [0, 0, 0] and image.sum() == 0
    filled = utils.draw_bounding_boxes(image, torch.tensor([[2.0, 3.0, 10.0, 12.0]]), colors=[(0, 255, 0)], fill=True)
    assert filled[1, 6, 6] == 100
    labelled = utils.draw_bounding_boxes(image[:1], torch.tensor([[2, 3, 25, 18]]), labels=["cat"], colors="#fff")
    assert labelled.shape == (3, 20, 30) and labelled[0, 5:16, 4:24].sum() > 0
    floats = utils.draw_bounding_boxes(torch.zeros(3, 20, 30), torch.tensor([[2, 3, 10, 12]]), colors="blue")
    assert floats.dtype == torch.float32 and floats[2, 3, 5] == 1.0


def test_draw_bounding_boxes_errors():
    image, box = torch.zeros(3, 9, 9, dtype=torch.uint8), torch.tensor([[1, 1, 5, 5]])
    for arguments, error, message in (
        ((np.zeros((3, 9, 9)), box), TypeError, "The image must be a tensor"),
        ((image.long(), box), ValueError, "The image dtype must be uint8 or float"),
        ((image[None], box), ValueError, "Pass individual images, not batches"),
        ((image[:2], box), ValueError, "Only grayscale and RGB images are supported"),
        ((image, torch.tensor([[5, 1, 1, 5]])), ValueError, "Boxes need to be in"),
        ((image, box, ["a", "b"]), ValueError, r"The number of boxes \(1\) and labels \(2\) mismatch"),
        ((image, box, None, []), ValueError, "Number of colors must be equal or larger"),
        ((image, box, None, 3), ValueError, "`colors` must be a tuple or a string"),
    ):
        with pytest.raises(error, match=message):
            utils.draw_bounding_boxes(*arguments)


def test_draw_segmentation_masks():
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1, 2] = True
    drawn = utils.draw_segmentation_masks(image, mask, alpha=0.5, colors=["red"])
    assert drawn[:, 1, 2].tolist() == [177, 50, 50] and drawn[:, 0, 0].tolist() == [100, 100, 100]
    with pytest.raises(ValueError, match="The masks must be of dtype bool. Got torch.uint8"):
        utils.draw_segmentation_masks(image, mask.to(torch.uint8))
    with pytest.raises(ValueError, match="must have the same height and width"):
        utils.draw_segmentation_masks(image, mask[:2])


def test_draw_keypoints():
    image = torch.zeros(3, 12, 12, dtype=torch.uint8)
    points = torch.tensor([[[3, 3], [9, 9]]])
    drawn = utils.draw_keypoints(image, points, colors="red", radius=1)
    assert drawn[:, 3, 3].tolist() == [255, 0, 0] and drawn[:, 6, 6].sum() == 0
    joined = utils.draw_keypoints(image, points, connectivity=[(0, 1)], colors="red", radius=1, width=1)
    assert joined[:, 6, 6].sum() > 0
    hidden = utils.draw_keypoints(image, points, colors="red", visibility=torch.tensor([[True, False]]))
    assert hidden[0, 9, 9] == 0 and hidden[0, 3, 3] == 255


# -- image files -----------------------------------------------------------------------------------------------


def test_png_round_trip(tmp_path, pixels):
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    write_png(tensor, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), tensor)
    assert torch.equal(read_image(str(tmp_path / "a.png"), ImageReadMode.RGB_ALPHA)[:3], tensor)
    gray = read_image(tmp_path / "a.png", "GRAY")
    assert np.array_equal(gray[0].numpy(), np.asarray(Image.fromarray(pixels).convert("L")))
    write_png(gray, tmp_path / "gray.png")
    assert read_image(tmp_path / "gray.png").shape == (1, 20, 30)


def test_jpeg(tmp_path, pixels):
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    write_jpeg(tensor, tmp_path / "a.jpg", quality=95)
    decoded = decode_image(encode_jpeg(tensor, quality=95))
    assert torch.equal(read_image(tmp_path / "a.jpg"), decoded)
    assert (decoded.float() - tensor.float()).abs().mean() < 40
    with pytest.raises(ValueError, match="Image quality should be a positive number between 1 and 100"):
        encode_jpeg(tensor, quality=0)


def test_reading_errors(tmp_path):
    with pytest.raises(RuntimeError, match="No such file or directory: '.*none.png'"):
        read_image(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(RuntimeError, match="cannot decode the image"):
        read_image(tmp_path / "bad.png")
    with pytest.raises(RuntimeError, match="Input tensor must be one-dimensional"):
        decode_image(torch.zeros(2, 2, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="The number of channels should be 1 or 3, got: 2"):
        write_png(torch.zeros(2, 3, 3, dtype=torch.uint8), tmp_path / "x.png")


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (3, 4, 6)
    assert read_image(tmp_path / "turned.jpg", apply_exif_orientation=True).shape == (3, 6, 4)


# -- boxes -----------------------------------------------------------------------------------------------------

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 25.0]])


def test_box_areas_and_overlaps():
    assert ops.box_area(BOXES).tolist() == [100.0, 100.0, 50.0]
    iou = ops.box_iou(BOXES, BOXES)
    assert iou[0, 1].item() == pytest.approx(81 / 119) and iou[0, 2] == 0 and torch.equal(iou.diagonal(), torch.ones(3))
    generalized = ops.generalized_box_iou(BOXES, BOXES)
    assert generalized[0, 1].item() == pytest.approx(81 / 119 - (121 - 119) / 121)
    assert generalized[0, 2].item() == pytest.approx(-(750 - 150) / 750)
    assert ops.box_area(torch.tensor([[0, 0, 200, 200]], dtype=torch.uint8)).item() == 40000


def test_box_formats():
    for form in ("xyxy", "xywh", "cxcywh"):
        there = ops.box_convert(BOXES, "xyxy", form)
        assert torch.allclose(ops.box_convert(there, form, "xyxy"), BOXES)
    assert ops.box_convert(BOXES[2:], "xyxy", "cxcywh").tolist() == [[25.0, 22.5, 10.0, 5.0]]
    with pytest.raises(ValueError, match="Unsupported Bounding Box Conversions"):
        ops.box_convert(BOXES, "xyxy", "polar")


def test_nms():
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert ops.nms(BOXES, scores, 0.5).tolist() == [1, 2]
    assert ops.nms(BOXES, scores, 0.7).tolist() == [1, 0, 2]
    assert ops.batched_nms(BOXES, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]
    assert ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).shape == (0,)


def test_boxes_and_images():
    clipped = ops.clip_boxes_to_image(torch.tensor([[-5.0, 2.0, 50.0, 60.0]]), (40, 30))
    assert clipped.tolist() == [[0.0, 2.0, 30.0, 40.0]]
    assert ops.remove_small_boxes(BOXES, 6.0).tolist() == [0, 1]
    masks = torch.zeros(2, 8, 9, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    masks[1, 7, 8] = True
    assert ops.masks_to_boxes(masks).tolist() == [[3.0, 2.0, 6.0, 4.0], [8.0, 7.0, 8.0, 7.0]]


def test_frozen_batch_norm():
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(4)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2.0)
    frozen = ops.FrozenBatchNorm2d(4)
    frozen.load_state_dict(norm.state_dict())
    image = torch.randn(2, 4, 3, 3)
    assert torch.allclose(frozen(image), norm.eval()(image), atol=1e-6)
    assert list(frozen.parameters()) == [] and repr(frozen) == "FrozenBatchNorm2d(4, eps=1e-05)"


def test_layers():
    assert ops.MLP(4, [8, 2], dropout=0.1)(torch.zeros(3, 4)).shape == (3, 2)
    assert ops.SqueezeExcitation(4, 2)(torch.ones(1, 4, 3, 3)).shape == (1, 4, 3, 3)
    block = ops.Conv2dNormActivation(3, 4, kernel_size=5, dilation=2, norm_layer=None)
    assert block(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 8, 8) and block[0].bias is not None


def test_version_and_backends():
    assert tuple(map(int, vision.__version__.split("."))) >= (0, 20, 0)
    assert vision.get_image_backend() == "PIL"
    vision.set_image_backend("PIL")
    with pytest.raises(ValueError, match="Invalid backend 'accimage'"):
        vision.set_image_backend("accimage")
