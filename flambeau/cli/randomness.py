"""The states of all random generators that training draws from, as plain data for a checkpoint."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from flambeau.random import default_generator, manual_seed
from flambeau.tensors import from_array


def seed_everything(seed: int) -> None:
    manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def capture() -> dict[str, Any]:
    """Return the states of flambeau's, Python's and NumPy's global generators."""
    kind, words, position, has_gauss, gauss = np.random.get_state()
    version, internal, next_gauss = random.getstate()
    return {
        "flambeau": from_array(default_generator.state_bytes()),
        "python": [version, list(internal), next_gauss],
        "numpy": [kind, words.tolist(), position, has_gauss, gauss],  # type: ignore[union-attr]
    }


def restore(state: dict[str, Any]) -> None:
    default_generator.set_state_bytes(state["flambeau"].numpy())
    version, internal, next_gauss = state["python"]
    random.setstate((version, tuple(internal), next_gauss))
    kind, words, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), position, has_gauss, gauss))
