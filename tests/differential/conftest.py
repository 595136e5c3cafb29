"""The differential suite: Flambeau beside PyTorch. It is collected only where PyTorch is installed."""

from __future__ import annotations

import importlib.util

import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
if not HAS_TORCH:
    collect_ignore_glob = ["*.py"]


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """The processes of pytest-xdist share the cores; PyTorch would start a thread for each in every one."""
    import torch

    torch.set_num_threads(1)
