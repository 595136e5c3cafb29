"""The calls of tests/api beside PyTorch's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.distributed

import flambeau

_API = Path(__file__).parents[1] / "api"
_spec = importlib.util.spec_from_file_location("api_tests_public", _API / "test_public_names.py")
public = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(public)


@pytest.mark.parametrize("name", public.calls.CALLS)
def test_call(name: str) -> None:
    ours, theirs = public.calls.run(flambeau, name), public.calls.run(torch, name)
    assert public.close(ours, theirs), f"{ours}\nPyTorch: {theirs}"
