"""The decorator with which a file of `methods` lists what it gives to Tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Members(dict[str, Any]):
    """Names and functions for Tensor; call it as a decorator to add one."""

    def __call__(self, function: Callable) -> Callable:
        self[function.__name__] = function
        return function

    def property(self, function: Callable) -> Callable:
        self[function.__name__] = property(function)
        return function
