"""Checkpoints that PyTorch wrote (data/*.pt, by make_golden.py) load as what was saved."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flambeau import nn, ones
from flambeau.nn.parameter import Parameter
from flambeau.serialization import CheckpointError, get_unsafe_globals_in_checkpoint, load, safe_globals, save
from flambeau.serialization.archive import ArchiveWriter
from flambeau.tensors import Tensor

DATA = Path(__file__).with_name("data")
EXPECTED = json.loads((DATA / "expected.json").read_text())


def check(found: Any, expected: Any) -> None:
    if isinstance(found, Tensor):
        array = found._array()
        if array.dtype.kind == "c":
            array = np.stack((array.real, array.imag), -1)
        facts = {
            "dtype": str(found.dtype), "shape": list(found.shape), "requires_grad": found.requires_grad,
            "values": array.astype(np.float64).tolist(), "type": type(found).__name__,
            "stride": None if expected["stride"] is None else list(found._strides),
        }  # fmt: skip
        assert facts == expected
    elif isinstance(found, dict):
        assert [str(k) for k in found] == list(expected)
        for key, value in found.items():
            check(value, expected[str(key)])
    elif isinstance(found, (list, tuple)) and isinstance(expected, list):
        assert len(found) == len(expected)
        for part, wanted in zip(found, expected):
            check(part, wanted)
    else:
        assert (found if isinstance(expected, (int, float, bool, type(None))) else str(found)) == expected


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", EXPECTED)
def test_pytorchs_checkpoints(name: str, mmap: bool, weights_only: bool) -> None:
    check(load(DATA / f"{name}.pt", mmap=mmap, weights_only=weights_only), EXPECTED[name])


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("name", EXPECTED)
def test_pytorchs_old_checkpoints(name: str, weights_only: bool) -> None:
    check(load(DATA / f"{name}_legacy.pt", weights_only=weights_only), EXPECTED[name])


@pytest.mark.parametrize("file", ["tensors.pt", "tensors_legacy.pt"])
def test_sharing_survives(file: str) -> None:
    found = load(DATA / file)
    assert found["base"] is found["same"] and isinstance(found["parameter"], Parameter)
    assert found["tagged"].tag == "mask"
    found["base"].fill_(-1)
    assert found["row"].tolist() == [-1.0] * 4 and found["columns"].tolist() == [[-1.0] * 3] * 2


def test_a_state_dict_keeps_its_metadata() -> None:
    found = load(DATA / "state_dict.pt")
    assert type(found) is OrderedDict and found._metadata["features.1"] == {"version": 2}


def test_a_whole_module_needs_trust() -> None:
    path = DATA / "module.pt"
    with pytest.raises(CheckpointError, match=r"GLOBAL torch\.nn\.modules\.container\.Sequential was not an allowed"):
        load(path)
    unsafe = get_unsafe_globals_in_checkpoint(path)
    assert "torch.nn.modules.container.Sequential" in unsafe and "torch._utils._rebuild_parameter" not in unsafe


@pytest.mark.parametrize("file", ["module.pt", "module_legacy.pt"])
def test_a_trusted_module_is_one_of_ours(file: str) -> None:
    found = load(DATA / file, weights_only=False)
    assert isinstance(found, nn.Sequential)
    assert [type(layer) for layer in found] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    whole, prefix = load(DATA / "state_dict.pt"), "features."
    state = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    assert list(found.state_dict()) == list(state)
    assert all(found.state_dict()[k].tolist() == v.tolist() for k, v in state.items())
    assert found(ones(2, 1, 4, 4)).shape == (2, 2, 2, 2) and found[0].weight.requires_grad


def test_whole_modules_of_ours(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    save(net, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"GLOBAL torch\.nn\.modules\.container\.Sequential"):
        load(tmp_path / "net.pt")
    found = load(tmp_path / "net.pt", weights_only=False)
    x = ones(2, 3)
    assert found(x).tolist() == net(x).tolist() and type(found[0]) is nn.Linear
    with safe_globals([nn.Sequential, nn.Linear, nn.Tanh]):
        assert load(tmp_path / "net.pt")(x).tolist() == net(x).tolist()


def test_a_class_we_do_not_have_is_named() -> None:
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    writer.write("data.pkl", b"\x80\x02ctorch.nn.modules.container\nHyperSequential\n)\x81.")
    writer.close()
    with pytest.raises(AttributeError, match=r"Flambeau has no torch\.nn\.modules\.container\.HyperSequential"):
        load(io.BytesIO(buffer.getvalue()), weights_only=False)
