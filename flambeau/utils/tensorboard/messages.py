"""The summaries that an event can hold, as encoded protocol buffers: scalars, histograms, pictures, text ..."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from flambeau.tensors import Tensor
from flambeau.utils.tensorboard.events import data, double, doubles, integer, single, singles, text

FLOAT, DOUBLE, STRING = 1, 2, 7  # tensor.proto's dtypes
_SUMMARY = 5  # the field of an event


def as_array(value: Any) -> np.ndarray:
    """Return a tensor, array, number or sequence of numbers as a NumPy array."""
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)


def summary(tag: str, value: bytes, plugin: str = "", content: bytes = b"") -> bytes:
    """Return an event's summary field with one value; `plugin` names the page of TensorBoard that shows it."""
    metadata = data(9, data(1, text(1, plugin) + data(2, content))) if plugin else b""
    return data(_SUMMARY, data(1, text(1, tag.lstrip("/")) + metadata + value))


def tensor(dtype: int, shape: Sequence[int], payload: bytes) -> bytes:
    """Return a summary value's tensor field."""
    dims = b"".join(data(2, integer(1, size)) for size in shape)
    return data(8, integer(1, dtype) + data(2, dims) + payload)


def scalar(tag: str, value: Any, new_style: bool = False, double_precision: bool = False) -> bytes:
    number = as_array(value)
    if number.size != 1:
        raise AssertionError(f"scalar should be 0D, got an array of shape {number.shape}")
    number = float(number.reshape(()))
    if double_precision:
        return summary(tag, tensor(DOUBLE, (), doubles(6, [number])), "scalars")
    if new_style:
        return summary(tag, tensor(FLOAT, (), singles(5, [number])), "scalars")
    return summary(tag, single(2, number))


def any_tensor(tag: str, value: Any) -> bytes:
    array = as_array(value)
    return summary(tag, tensor(FLOAT, array.shape, singles(5, array.ravel().astype(np.float32).tolist())), "tensor")


# -- histograms ------------------------------------------------------------------------------------------------


def default_edges() -> np.ndarray:
    """TensorFlow's bins: each a tenth wider than the last, from 1e-12 to 1e20, on both sides of 0."""
    count = math.ceil(math.log(1e20 / 1e-12) / math.log(1.1))
    positive = 1e-12 * 1.1 ** np.arange(count)
    return np.concatenate([-positive[::-1], [0.0], positive])


def histogram(tag: str, values: Any, bins: Any = "tensorflow", max_bins: int | None = None) -> bytes:
    """Return the distribution of all elements of `values`. Raises ValueError where there are none."""
    numbers = as_array(values).astype(np.float64).ravel()
    if numbers.size == 0:
        raise ValueError("The input has no element.")
    counts, limits = np.histogram(numbers, bins=default_edges() if bins == "tensorflow" else bins)
    if max_bins is not None and len(counts) > max_bins:
        step = len(counts) // max_bins
        counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
        limits = np.append(limits[:-1][::step], limits[-1])
    filled = np.flatnonzero(counts)
    if filled.size == 0:
        raise ValueError("The histogram is empty, please file a bug report.")
    first, last = filled[0], filled[-1] + 1
    # A bucket is named by its right limit, so the one left of the first gives the first its left limit.
    kept = np.concatenate([[0], counts[first:last]])
    moments = (numbers.min(), numbers.max(), numbers.size, numbers.sum(), numbers @ numbers)
    return histogram_raw(tag, *moments, limits[first : last + 1], kept)


def histogram_raw(
    tag: str, low: float, high: float, num: float, total: float, squares: float, limits: Any, counts: Any
) -> bytes:
    moments = b"".join(double(i, float(value)) for i, value in enumerate((low, high, num, total, squares), 1))
    return summary(tag, data(5, moments + doubles(6, map(float, limits)) + doubles(7, map(float, counts))))


# -- pictures and sounds ---------------------------------------------------------------------------------------


def to_height_width_channels(array: np.ndarray, layout: str) -> np.ndarray:
    """Bring an image, or several as a grid, from a layout such as CHW or NCHW to (H, W, 1, 3 or 4).

    Raises AssertionError where the layout does not fit the array.
    """
    layout = layout.upper()
    if len(set(layout)) != len(layout):
        raise AssertionError(f"You can not use the same dimension shordhand twice.         input_format: {layout}")
    if array.ndim != len(layout):
        raise AssertionError(
            f"size of input tensor and input format are different. tensor shape: {array.shape}, input_format: {layout}"
        )
    if "N" in layout:
        return _grid(array.transpose([layout.index(axis) for axis in "NHWC"]))
    if "C" not in layout:
        gray = array.transpose([layout.index(axis) for axis in "HW"])
        return np.stack([gray] * 3, axis=2)
    image = array.transpose([layout.index(axis) for axis in "HWC"])
    return np.concatenate([image] * 3, axis=2) if image.shape[2] == 1 else image


def _grid(images: np.ndarray) -> np.ndarray:
    count, height, width, channels = images.shape
    if channels == 1:
        images = np.concatenate([images] * 3, axis=3)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows * height, columns * width, images.shape[3]), dtype=images.dtype)
    for i, picture in enumerate(images):
        top, left = i // columns * height, i % columns * width
        canvas[top : top + height, left : left + width] = picture
    return canvas


def to_bytes(array: np.ndarray) -> np.ndarray:
    """Scale floats from 0..1 to 0..255."""
    if array.dtype == np.uint8:
        return array
    scale = 255.0 if array.dtype.kind == "f" else 1.0
    return (array.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)


def image(tag: str, value: Any, layout: str) -> bytes:
    return picture(tag, to_bytes(to_height_width_channels(as_array(value), layout)))


def picture(tag: str, pixels: np.ndarray) -> bytes:
    """Return the summary of (H, W, channels) bytes."""
    height, width, channels = pixels.shape
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return _encoded(tag, height, width, channels, buffer.getvalue())


def _encoded(tag: str, height: int, width: int, channels: int, content: bytes) -> bytes:
    return summary(tag, data(4, integer(1, height) + integer(2, width) + integer(3, channels) + data(4, content)))


def video(tag: str, value: Any, fps: float) -> bytes:
    """Return the summary of (N, T, C, H, W): N clips beside one another, as an animated GIF."""
    clips = to_bytes(as_array(value))
    frames = [to_height_width_channels(clips[:, t], "NCHW") for t in range(clips.shape[1])]
    first, *rest = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return _encoded(tag, *frames[0].shape, buffer.getvalue())


def audio(tag: str, value: Any, sample_rate: int) -> bytes:
    """Return the summary of samples in -1..1, shape (L,) or (1, L)."""
    samples = as_array(value).squeeze()
    if samples.ndim != 1:
        raise AssertionError("input tensor should be 1 dimensional.")
    samples = (samples.clip(-1, 1) * np.iinfo(np.int16).max).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
    fields = single(1, sample_rate) + integer(2, 1) + integer(3, len(samples)) + data(4, buffer.getvalue())
    return summary(tag, data(6, fields + text(5, "audio/wav")))


# -- text, curves, hyperparameters -----------------------------------------------------------------------------


def words(tag: str, value: str) -> bytes:
    return summary(tag + "/text_summary", tensor(STRING, (1,), data(8, value.encode())), "text", integer(1, 0))


def pr_curve(tag: str, labels: Any, predictions: Any, thresholds: int, weights: Any) -> bytes:
    """Return precision and recall over the thresholds, from true labels (0 or 1) and scores in 0..1."""
    thresholds = min(thresholds, 127)
    truth, weight = as_array(labels).astype(np.float64), 1.0 if weights is None else as_array(weights)
    bucket = np.floor(as_array(predictions) * (thresholds - 1)).astype(np.int64)
    span = {"bins": thresholds, "range": (0, thresholds - 1)}
    hits, _ = np.histogram(bucket, weights=truth * weight, **span)
    misses, _ = np.histogram(bucket, weights=(1.0 - truth) * weight, **span)
    tp, fp = np.cumsum(hits[::-1])[::-1], np.cumsum(misses[::-1])[::-1]
    return pr_curve_raw(tag, tp, fp, fp[0] - fp, tp[0] - tp, None, None, thresholds)


def pr_curve_raw(tag: str, tp: Any, fp: Any, tn: Any, fn: Any, precision: Any, recall: Any, thresholds: int) -> bytes:
    tp, fp, tn, fn = (as_array(counts) for counts in (tp, fp, tn, fn))
    if precision is None:
        precision = tp / np.maximum(1e-7, tp + fp)
    if recall is None:
        recall = tp / np.maximum(1e-7, tp + fn)
    rows = np.stack([tp, fp, tn, fn, as_array(precision), as_array(recall)])
    value = tensor(FLOAT, rows.shape, singles(5, rows.ravel().tolist()))
    return summary(tag, value, "pr_curves", integer(1, 0) + integer(2, min(thresholds, 127)))


_DATA_TYPES = {str: 1, bool: 2, float: 3}


def _json_value(value: Any) -> bytes:
    """Return a google.protobuf.Value."""
    if isinstance(value, bool):
        return integer(4, value)
    return text(3, value) if isinstance(value, str) else double(2, float(value))


def hparams(values: dict[str, Any], metrics: dict[str, Any], domains: dict[str, list] | None) -> list[bytes]:
    """Return the three summaries of the hyperparameters page: the experiment, the session's start and its end.

    Raises TypeError for arguments that are not dicts, ValueError for a value that is no number, string or bool.
    """
    for name, given in (("hparam_dict", values), ("metric_dict", metrics)):
        if not isinstance(given, dict):
            raise TypeError(f"parameter: {name} should be a dictionary, nothing logged.")
    start, infos = b"", b""
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, Tensor | np.generic):
            value = value.item()
        if not isinstance(value, bool | int | float | str):
            raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")
        kind = _DATA_TYPES.get(type(value), _DATA_TYPES[float])
        start += data(1, text(1, key) + data(2, _json_value(value)))
        domain = b"".join(data(1, _json_value(choice)) for choice in (domains or {}).get(key, []))
        infos += data(4, text(1, key) + integer(4, kind) + (data(5, domain) if domain else b""))
    scores = b"".join(data(5, data(1, text(2, key))) for key in metrics)
    return [
        summary("_hparams_/experiment", b"", "hparams", integer(1, 0) + data(2, infos + scores)),
        summary("_hparams_/session_start_info", b"", "hparams", integer(1, 0) + data(3, start)),
        summary("_hparams_/session_end_info", b"", "hparams", integer(1, 0) + data(4, integer(1, 1))),
    ]
