"""Operations of detectors and layers that models share (torchvision.ops)."""

from flambeau.vision.ops import boxes, misc
from flambeau.vision.ops.boxes import (
    batched_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou,
    masks_to_boxes,
    nms,
    remove_small_boxes,
)
from flambeau.vision.ops.misc import MLP, Conv2dNormActivation, FrozenBatchNorm2d, SqueezeExcitation

__all__ = [
    "Conv2dNormActivation",
    "FrozenBatchNorm2d",
    "MLP",
    "SqueezeExcitation",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "boxes",
    "clip_boxes_to_image",
    "generalized_box_iou",
    "masks_to_boxes",
    "misc",
    "nms",
    "remove_small_boxes",
]
