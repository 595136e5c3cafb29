"""Anomaly mode: backward stops at the first NaN and shows the user's forward line."""

from __future__ import annotations

import warnings

from flambeau.autograd.mode import state


class detect_anomaly:
    """Inside, forward lines are remembered, and backward raises where a gradient becomes NaN."""

    def __init__(self, check_nan: bool = True) -> None:
        self._fields = (True, check_nan)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._before = (state.anomaly, state.anomaly_check_nan)
        state.anomaly, state.anomaly_check_nan = self._fields

    def __exit__(self, *exc: object) -> None:
        state.anomaly, state.anomaly_check_nan = self._before


class set_detect_anomaly:
    """Switch anomaly mode at once; as a context manager put it back."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (state.anomaly, state.anomaly_check_nan)
        state.anomaly, state.anomaly_check_nan = mode, check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.anomaly, state.anomaly_check_nan = self._before


def is_anomaly_enabled() -> bool:
    return state.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    return state.anomaly_check_nan
