"""SummaryWriter's event files, read back with a small decoder (and with TensorBoard's own where it is installed)."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

import flambeau
from flambeau.utils.tensorboard import SummaryWriter
from flambeau.utils.tensorboard.events import crc32c, varint


def fields(message):
    """Decode one protocol buffer into a list of (field number, value)."""
    found, at = [], 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        wire, field = key & 7, key >> 3
        if wire == 0:
            found.append((field, number()))
            continue
        size = {1: 8, 5: 4}.get(wire) or number()
        raw = message[at : at + size]
        at += size
        found.append((field, struct.unpack("<d" if wire == 1 else "<f", raw)[0] if wire in (1, 5) else raw))
    return found


def masked(content):
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder):
    """Decode the event file of a folder into dicts of field number to value, checking the checksums."""
    (path,) = folder.glob("events.out.tfevents.*")
    content, found = path.read_bytes(), []
    while content:
        (length,), (crc,) = struct.unpack("<Q", content[:8]), struct.unpack("<I", content[8:12])
        body = content[12 : 12 + length]
        assert crc == masked(content[:8])
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked(body),)
        found.append(dict(fields(body)))
        content = content[16 + length :]
    return found


def values(folder):
    """Decode a folder's summaries into (tag, step, dict of the value's fields)."""
    found = []
    for event in events(folder)[1:]:
        value = dict(fields(dict(fields(event[5]))[1]))
        found.append((value[1].decode(), event.get(2, 0), value))
    return found


@pytest.fixture
def writer(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        yield writer


def only(writer, tmp_path):
    writer.close()
    ((tag, step, value),) = values(tmp_path)
    return tag, step, value


def test_checksum_and_varint():
    assert crc32c(b"123456789") == 0xE3069283 and crc32c(b"") == 0
    assert varint(300) == b"\xac\x02" and len(varint(-1)) == 10


def test_the_file_begins_with_its_version(writer, tmp_path):
    assert events(tmp_path)[0][3] == b"brain.Event:2"


def test_scalars(writer, tmp_path):
    for step, value in enumerate([1, 2.5, flambeau.tensor(0.25), np.float64(4), flambeau.ones(1, requires_grad=True)]):
        writer.add_scalar("loss/train", value, step, walltime=100.0 + step)
    writer.close()
    assert [(t, s, v[2]) for t, s, v in values(tmp_path)] == [
        ("loss/train", i, x) for i, x in enumerate([1, 2.5, 0.25, 4, 1])
    ]
    assert events(tmp_path)[2][1] == 101.0
    with pytest.raises(AssertionError, match="scalar should be 0D"):
        writer.add_scalar("x", flambeau.ones(2))


def test_scalars_in_double_precision(writer, tmp_path):
    writer.add_scalar("pi", np.pi, double_precision=True)
    _, _, value = only(writer, tmp_path)
    tensor = dict(fields(value[8]))
    assert tensor[1] == 2 and struct.unpack("<d", tensor[6]) == (np.pi,)


def test_several_scalars_are_runs_of_their_own(writer, tmp_path):
    writer.add_scalars("a/b", {"x": 1, "y": 2}, 7)
    writer.close()
    for name, number in (("x", 1), ("y", 2)):
        ((tag, step, value),) = values(tmp_path / f"a_b_{name}")
        assert (tag, step, value[2]) == ("a/b", 7, number)


def test_histograms(writer, tmp_path):
    numbers = np.concatenate([np.full(3, -2.0), np.zeros(5), np.full(2, 0.5)])
    writer.add_histogram("h", flambeau.from_numpy(numbers), 1)
    _, _, value = only(writer, tmp_path)
    histogram = dict(fields(value[5]))
    assert [histogram[i] for i in range(1, 6)] == [-2, 0.5, 10, -5, 12.5]
    limits = np.frombuffer(histogram[6])
    counts = np.frombuffer(histogram[7])
    assert len(limits) == len(counts) and counts.sum() == 10 and counts[0] == 0
    assert (np.diff(limits) > 0).all() and limits[0] <= -2 < limits[1] and limits[-1] >= 0.5
    filled = {int(c): limit for limit, c in zip(limits, counts) if c}
    assert set(filled) == {3, 5, 2} and filled[3] >= -2 and filled[2] >= 0.5


@pytest.mark.parametrize("bins, max_bins", [(4, None), (64, 8)])
def test_histograms_with_other_bins(writer, tmp_path, bins, max_bins):
    writer.add_histogram("h", np.arange(100.0), bins=bins, max_bins=max_bins)
    _, _, value = only(writer, tmp_path)
    counts = np.frombuffer(dict(fields(value[5]))[7])
    assert counts.sum() == 100 and len(counts) == 1 + (max_bins or bins)


def test_empty_histograms_are_refused(writer):
    with pytest.raises(ValueError, match="The input has no element"):
        writer.add_histogram("h", [])
    with pytest.raises(ValueError, match=r"len\(bucket_limits\) != len\(bucket_counts\)"):
        writer.add_histogram_raw("h", 0, 1, 1, 1, 1, [1], [1, 2])


@pytest.mark.parametrize(
    "shape, layout, size, method",
    [
        ((3, 4, 6), "CHW", (6, 4), "add_image"), ((1, 4, 6), "CHW", (6, 4), "add_image"),
        ((4, 6, 3), "HWC", (6, 4), "add_image"), ((4, 6), "HW", (6, 4), "add_image"),
        ((5, 3, 4, 6), "NCHW", (18, 8), "add_images"), ((5, 4, 6, 1), "NHWC", (18, 8), "add_images"),
    ],
)  # fmt: skip
def test_images(writer, tmp_path, shape, layout, size, method):
    pixels = np.random.default_rng(0).random(shape).astype(np.float32)
    getattr(writer, method)("i", flambeau.from_numpy(pixels), 3, dataformats=layout)
    _, _, value = only(writer, tmp_path)
    found = dict(fields(value[4]))
    picture = Image.open(io.BytesIO(found[4]))
    assert picture.size == size == (found[2], found[1]) and found[3] == 3 and picture.mode == "RGB"
    if layout == "CHW" and shape[0] == 3:
        assert np.array_equal(np.asarray(picture), (pixels.transpose(1, 2, 0) * 255).astype(np.uint8))


def test_layouts_that_do_not_fit(writer):
    with pytest.raises(AssertionError, match="size of input tensor and input format are different"):
        writer.add_image("i", np.ones((3, 4)))
    with pytest.raises(AssertionError, match="same dimension"):
        writer.add_image("i", np.ones((3, 4, 4)), dataformats="HHC")


def test_text_audio_video(writer, tmp_path):
    writer.add_text("t", "hello *you*", 1)
    writer.add_audio("a", flambeau.zeros(1, 50), 1, sample_rate=8000)
    writer.add_video("v", flambeau.zeros(2, 3, 3, 4, 4), 1)
    writer.close()
    text, audio, video = (value for _, _, value in values(tmp_path))
    assert text[1] == b"t/text_summary" and dict(fields(text[8]))[8] == b"hello *you*"
    sound = dict(fields(audio[6]))
    assert sound[1] == 8000 and sound[3] == 50 and sound[4].startswith(b"RIFF") and sound[5] == b"audio/wav"
    clip = Image.open(io.BytesIO(dict(fields(video[4]))[4]))
    assert clip.format == "GIF" and clip.size == (8, 4)


def test_figures(writer, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure(figsize=(2, 1), dpi=50)
    writer.add_figure("f", figure)
    assert not pyplot.fignum_exists(figure.number)
    _, _, value = only(writer, tmp_path)
    assert Image.open(io.BytesIO(dict(fields(value[4]))[4])).size == (100, 50)


def test_hyperparameters(writer, tmp_path):
    writer.add_hparams({"lr": 0.1, "name": "sgd", "nesterov": True, "none": None}, {"accuracy": 0.9}, run_name="h")
    tags = [tag for tag, _, _ in values(tmp_path / "h")]
    assert tags == ["_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info", "accuracy"]
    with pytest.raises(TypeError, match="hparam_dict should be a dictionary"):
        writer.add_hparams([], {})
    with pytest.raises(ValueError, match="value should be one of"):
        writer.add_hparams({"x": []}, {})


def test_precision_and_recall(writer, tmp_path):
    writer.add_pr_curve("p", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), num_thresholds=11)
    _, _, value = only(writer, tmp_path)
    tensor = dict(fields(value[8]))
    tp, fp, tn, fn, precision, recall = np.frombuffer(tensor[5], np.float32).reshape(6, 11)
    assert tp.tolist() == [2] * 5 + [1] * 5 + [0] and fp[0] == 2 and fp[-1] == 0
    assert np.allclose(recall, tp / 2) and (tp + fn == 2).all() and (fp + tn == 2).all()
    assert precision[0] == 0.5


def test_folders_and_flushing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = SummaryWriter(comment="-test", max_queue=2)
    assert writer.get_logdir().startswith("runs") and writer.get_logdir().endswith("-test")
    folder = tmp_path / writer.get_logdir()
    for step in range(2):
        writer.add_scalar("x", step, step)
    assert len(values(folder)) == 2  # on disk already
    writer.add_scalar("x", 2, 2)
    writer.flush()
    assert len(values(folder)) == 3
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.add_scalar("x", 3)


def test_graphs_are_not_written(writer):
    with pytest.warns(UserWarning, match="add_graph writes nothing"):
        writer.add_graph(None)


def test_tensorboard_reads_it(writer, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer.add_scalar("x", 2.5, 3)
    writer.add_histogram("h", np.arange(5.0), 3)
    writer.close()
    accumulator = reader.EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [(e.step, e.value) for e in accumulator.Scalars("x")] == [(3, 2.5)]
    assert accumulator.Histograms("h")[0].histogram_value.num == 5
