"""Boxes in images: areas, overlaps, conversions, suppression of doubles. A box is a row of (N, 4)."""

from __future__ import annotations

import numpy as np

from flambeau import ops
from flambeau.dtypes import float32, int64
from flambeau.tensors import Tensor, from_array


def box_area(boxes: Tensor) -> Tensor:
    """The areas, shape (N,), of boxes (x1, y1, x2, y2)."""
    boxes = _wide(boxes)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _wide(boxes: Tensor) -> Tensor:
    """Boxes in a dtype that areas do not overflow."""
    if boxes.dtype.is_floating_point:
        return boxes if boxes.dtype.itemsize >= 4 else boxes.to(float32)
    return boxes.to(int64)


def _overlap(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union of each of the first boxes with each of the second, shape (N, M)."""
    a, b = _wide(boxes1), _wide(boxes2)
    low = ops.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = ops.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    sides = (high - low).clamp(min=0)
    inter = sides[..., 0] * sides[..., 1]
    return inter, box_area(a)[..., :, None] + box_area(b)[..., None, :] - inter


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of each of N boxes (x1, y1, x2, y2) with each of M, shape (N, M)."""
    inter, union = _overlap(boxes1, boxes2)
    return inter / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """`box_iou`, less the empty share of the smallest box around both (Rezatofighi et al. 2019), shape (N, M)."""
    inter, union = _overlap(boxes1, boxes2)
    low = ops.minimum(boxes1[:, None, :2], boxes2[None, :, :2])
    high = ops.maximum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    sides = _wide(high - low).clamp(min=0)
    around = sides[..., 0] * sides[..., 1]
    return inter / union - (around - union) / around


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (x1, y1, x2, y2) cut off at the borders of an image of (height, width)."""
    height, width = size
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return ops.stack((x, y), dim=-1).reshape(boxes.shape)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """The indices of the boxes (x1, y1, x2, y2) whose sides are both at least `min_size` long."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return ops.where((width >= min_size) & (height >= min_size))[0]


# A box as two corners, from and to each format.
_TO_CORNERS = {
    "xyxy": lambda a, b, c, d: (a, b, c, d),
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "cxcywh": lambda x, y, w, h: (x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h),
}
_FROM_CORNERS = {
    "xyxy": lambda a, b, c, d: (a, b, c, d),
    "xywh": lambda a, b, c, d: (a, b, c - a, d - b),
    "cxcywh": lambda a, b, c, d: ((a + c) / 2, (b + d) / 2, c - a, d - b),
}


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Convert boxes between `xyxy` (two corners), `xywh` (corner and size) and `cxcywh` (centre and size).

    Raises:
        ValueError: for another format.
    """
    if in_fmt not in _TO_CORNERS or out_fmt not in _TO_CORNERS:
        raise ValueError(f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}")
    if in_fmt == out_fmt:
        return boxes.clone()
    return ops.stack(_FROM_CORNERS[out_fmt](*_TO_CORNERS[in_fmt](*boxes.unbind(-1))), dim=-1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: of boxes that overlap by more than `iou_threshold`, keep the one with the best score.

    Args:
        boxes: of shape (N, 4), (x1, y1, x2, y2).
        scores: of shape (N,).
        iou_threshold: the largest intersection over union of two boxes that both stay.

    Returns:
        The indices of the boxes that stay, by falling score, int64.
    """
    overlap = box_iou(boxes.detach(), boxes.detach()).numpy() > iou_threshold
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    alive = np.ones(len(order), bool)
    kept = []
    for index in order:
        if alive[index]:
            kept.append(index)
            alive &= ~overlap[index]
    return from_array(np.array(kept, np.int64))


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` in which only boxes of the same class, `idxs` of shape (N,), suppress each other."""
    if boxes.numel() == 0:
        return ops.empty((0,), dtype=int64)
    # Each class is moved to a place of its own, where it meets no other.
    offsets = idxs.to(boxes.dtype) * (boxes.max() + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def masks_to_boxes(masks: Tensor) -> Tensor:
    """The boxes (x1, y1, x2, y2), float32 of shape (N, 4), around masks of shape (N, H, W); none may be empty."""
    boxes = np.zeros((masks.shape[0], 4), np.float32)
    for box, mask in zip(boxes, masks.detach().numpy()):
        y, x = np.nonzero(mask)
        box[:] = x.min(), y.min(), x.max(), y.max()
    return from_array(boxes)
