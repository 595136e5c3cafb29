"""`torch.profiler`: profiling by steps, on a schedule. What is measured, and how, is in `autograd.profiler`."""

from flambeau.autograd.profiler import record_function
from flambeau.profiler.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]  # fmt: skip
