"""Rebuilding a container of the user's own type with new contents, for collate and convert."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any


def is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def mapping_like(original: Mapping, items: dict) -> Mapping:
    """Return a mapping of `original`'s type that holds `items`; a dict where it cannot be rebuilt."""
    try:
        if isinstance(original, MutableMapping):
            # A copy keeps whatever else the type carries (a default factory, attributes).
            clone = copy.copy(original)
            clone.update(items)
            return clone
        return type(original)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def sequence_like(original: Sequence, items: list) -> Sequence:
    """Return a sequence of `original`'s type that holds `items`; plain tuples become lists, as in PyTorch."""
    if isinstance(original, tuple):
        return type(original)(*items) if is_namedtuple(original) else items
    try:
        if isinstance(original, MutableSequence):
            clone = copy.copy(original)
            for i, item in enumerate(items):
                clone[i] = item
            return clone
        return type(original)(items)  # type: ignore[call-arg]
    except TypeError:
        return items
