"""SummaryWriter: logs for TensorBoard (PyTorch's ``torch.utils.tensorboard``). Needs no package to write them."""

from __future__ import annotations

import os
import socket
import warnings
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from flambeau.utils.tensorboard import messages
from flambeau.utils.tensorboard.events import EventFile, integer, varint

__all__ = ["SummaryWriter"]

_SESSION_LOG, _START = 7, 1  # the field of an event, and SessionLog's status


class SummaryWriter:
    """Writes scalars, histograms, pictures, sounds and text to event files, which ``tensorboard --logdir`` shows.

    Args:
        log_dir: the run's folder; by default ``runs/`` and the time and host name, with `comment` after it.
        purge_step: TensorBoard forgets what an earlier, crashed run logged from this step on.
        max_queue, flush_secs: the file is flushed after so many events or seconds.
        filename_suffix: end of the event file's name.

    Each method takes a `tag` (a slash groups tags), a `global_step` and a `walltime` (by default now).

    >>> import tempfile
    >>> from flambeau.utils.tensorboard import SummaryWriter
    >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
    ...     for step in range(3):
    ...         writer.add_scalar("loss/train", 1 / (step + 1), step)
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            stamp = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{stamp}_{socket.gethostname()}{comment}")
        self.log_dir = str(log_dir)
        self.purge_step, self.max_queue, self.flush_secs = purge_step, max_queue, flush_secs
        self.filename_suffix = filename_suffix
        self.all_writers: dict[str, EventFile] = {}
        self.file_writer = self._open(self.log_dir)
        if purge_step is not None:
            status = integer(1, _START)
            field = varint(_SESSION_LOG << 3 | 2) + varint(len(status)) + status
            self.file_writer.write(field, purge_step)

    def _open(self, folder: str) -> EventFile:
        """Return the event file of a folder; runs within the run (add_scalars) have folders of their own."""
        if folder not in self.all_writers:
            self.all_writers[folder] = EventFile(folder, self.max_queue, self.flush_secs, self.filename_suffix)
        return self.all_writers[folder]

    def get_logdir(self) -> str:
        return self.log_dir

    def _write(self, message: bytes, step: Any, walltime: float | None) -> None:
        self.file_writer.write(message, None if step is None else int(step), walltime)

    # -- numbers -----------------------------------------------------------------------------------------------

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """Log one number (or a tensor with one element)."""
        self._write(messages.scalar(tag, scalar_value, new_style, double_precision), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Log several numbers that TensorBoard draws into one diagram."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            step = None if global_step is None else int(global_step)
            self._open(folder).write(messages.scalar(main_tag, value), step, walltime)

    def add_tensor(self, tag: str, tensor: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """Log a whole tensor of floats."""
        self._write(messages.any_tensor(tag, tensor), global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """Log the distribution of a tensor's elements; `bins` is "tensorflow" or what numpy.histogram takes."""
        self._write(messages.histogram(tag, values, bins, max_bins), global_step, walltime)

    def add_histogram_raw(
        self, tag: str, min: float, max: float, num: int, sum: float, sum_squares: float, bucket_limits: Any,
        bucket_counts: Any, global_step: int | None = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Log a distribution that was counted elsewhere; `bucket_limits` are the right ends of the buckets."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        message = messages.histogram_raw(tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts)
        self._write(message, global_step, walltime)

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, global_step: int | None = None, num_thresholds: int = 127,
        weights: Any = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Log precision and recall from true labels (0 or 1) and scores in 0..1."""
        message = messages.pr_curve(tag, labels, predictions, num_thresholds, weights)
        self._write(message, global_step, walltime)

    def add_pr_curve_raw(
        self, tag: str, true_positive_counts: Any, false_positive_counts: Any, true_negative_counts: Any,
        false_negative_counts: Any, precision: Any, recall: Any, global_step: int | None = None,
        num_thresholds: int = 127, weights: Any = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Log precision and recall that were counted elsewhere."""
        counts = (true_positive_counts, false_positive_counts, true_negative_counts, false_negative_counts)
        message = messages.pr_curve_raw(tag, *counts, precision, recall, num_thresholds)
        self._write(message, global_step, walltime)

    def add_hparams(
        self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list] | None = None, run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Log hyperparameters and the metrics that they led to, as a run of its own below this one."""
        summaries = messages.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        run = run_name or str(datetime.now().timestamp())
        with SummaryWriter(os.path.join(self.log_dir, run)) as writer:
            for summary in summaries:
                writer._write(summary, None, None)
            for tag, value in metric_dict.items():
                writer.add_scalar(tag, value, global_step)

    # -- pictures, sounds, text --------------------------------------------------------------------------------

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """Log an image: bytes, or floats in 0..1. `dataformats` is CHW, HWC or HW."""
        self._write(messages.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Log several images as one grid. `dataformats` is NCHW or NHWC."""
        if isinstance(img_tensor, list):
            img_tensor, dataformats = np.stack([messages.as_array(image) for image in img_tensor]), "NCHW"
        self._write(messages.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """Log a matplotlib figure, or a list of figures side by side; `close` frees them for pyplot."""
        from matplotlib import pyplot
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        pictures = []
        for one in figure if isinstance(figure, list) else [figure]:
            canvas = FigureCanvasAgg(one)
            canvas.draw()
            pictures.append(np.asarray(canvas.buffer_rgba()))
            if close:
                pyplot.close(one)
        layout = "NHWC" if isinstance(figure, list) else "HWC"
        self._write(messages.image(tag, np.stack(pictures) if layout == "NHWC" else pictures[0], layout),
                    global_step, walltime)  # fmt: skip

    def add_video(
        self, tag: str, vid_tensor: Any, global_step: int | None = None, fps: float = 4, walltime: float | None = None
    ) -> None:
        """Log clips of shape (N, T, C, H, W), bytes or floats in 0..1."""
        self._write(messages.video(tag, vid_tensor, fps), global_step, walltime)

    def add_audio(
        self, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Log a sound: samples in -1..1."""
        self._write(messages.audio(tag, snd_tensor, sample_rate), global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Log text; TensorBoard shows it as Markdown."""
        self._write(messages.words(tag, text_string), global_step, walltime)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """Do nothing but say so: graphs are not written. `flambeau.utils.summary` tabulates a network."""
        warnings.warn("add_graph writes nothing: flambeau.utils.summary(model, ...) shows a network's layers")

    # -- the file ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is buffered to disk."""
        for file in self.all_writers.values():
            file.flush()

    def close(self) -> None:
        """Flush and close all files."""
        for file in self.all_writers.values():
            file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
