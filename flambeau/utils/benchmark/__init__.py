"""Timing statements and comparing the times in a table (PyTorch's ``torch.utils.benchmark``)."""

from flambeau.utils.benchmark.compare import Colorize, Compare
from flambeau.utils.benchmark.measurement import Measurement, TaskSpec, ordered_unique, select_unit, trim_sigfig
from flambeau.utils.benchmark.timer import Language, Timer, timer

__all__ = [
    "Colorize",
    "Compare",
    "Language",
    "Measurement",
    "TaskSpec",
    "Timer",
    "ordered_unique",
    "select_unit",
    "timer",
    "trim_sigfig",
]
