"""The safetensors format: our own reader and writer, and beside the safetensors package."""

from __future__ import annotations

import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import safetensors
from flambeau.dtypes import ALL, complex128
from flambeau.serialization import CheckpointError, load

DTYPES = [d for d in ALL if d is not complex128]


@pytest.fixture
def tensors() -> dict[str, flambeau.Tensor]:
    found = {d.name: flambeau.tensor([[0, 1, 2], [3, 0, 1]]).to(d) for d in DTYPES}
    return found | {"empty": flambeau.zeros(0, 3), "number": flambeau.tensor(2.5), "strided": flambeau.ones(2, 3).t()}


def equal(a: dict[str, flambeau.Tensor], b: dict[str, flambeau.Tensor]) -> bool:
    facts = [{k: (t.dtype, t.shape, t.tolist()) for k, t in d.items()} for d in (a, b)]
    return facts[0] == facts[1]


def test_round_trip(tmp_path: Path, tensors) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.save_file(tensors, path, {"format": "pt", "note": "\u4e16"})
    assert equal(safetensors.load_file(path), tensors)
    assert equal(safetensors.load(path.read_bytes()), tensors)
    assert safetensors.save(tensors, {"format": "pt", "note": "\u4e16"}) == path.read_bytes()
    assert equal(load(path), tensors) and equal(load(path, map_location="cpu"), tensors)
    with pytest.raises(RuntimeError, match="callable map_location is not supported"):
        load(path, map_location=lambda storage, tag: storage)
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        assert file.keys() == sorted(tensors) and file.metadata() == {"format": "pt", "note": "\u4e16"}
        assert file.get_tensor("number").item() == 2.5
        assert file.get_slice("int64").shape == (2, 3)
        with pytest.raises(CheckpointError, match="does not contain tensor absent"):
            file.get_tensor("absent")


def test_loaded_tensors_can_be_written(tmp_path: Path) -> None:
    data = safetensors.save({"x": flambeau.zeros(2)})
    assert safetensors.load(data)["x"].add_(1).tolist() == [1.0, 1.0]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    for bad in ({"x": 3}, {"x": flambeau.zeros(1).to(complex128)}, {1: flambeau.zeros(1)}):
        with pytest.raises(ValueError, match="is invalid"):
            safetensors.save_file(bad, tmp_path / "bad.safetensors")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD = {
    "empty": b"",
    "short": b"\x01\x00\x00",
    "a header longer than the file": file_of({}, length=2**62),
    "a header of 2**64 bytes": b"\xff" * 8 + b"{}",
    "no json": file_of(b"hello"),
    "deep json": file_of(b"[" * 100_000),
    "a list": file_of([]),
    "text that is none": file_of(b'{"\xff": 1}'),
    "an entry that is a number": file_of({"x": 1}),
    "no shape": file_of({"x": {"dtype": "F32", "data_offsets": [0, 0]}}),
    "a negative shape": file_of({"x": entry(shape=(-2,))}, bytes(8)),
    "a fractional shape": file_of({"x": entry(shape=(2.0,))}, bytes(8)),
    "a true shape": file_of({"x": entry(shape=(True, 2))}, bytes(8)),
    "a vast shape": file_of({"x": entry(shape=(2**60,), offsets=(0, 2**62))}, bytes(8)),
    "a shape that wraps around": file_of({"x": entry(shape=(2**32, 2**32))}, bytes(8)),
    "a shape beyond its bytes": file_of({"x": entry(shape=(3,))}, bytes(8)),
    "offsets out of order": file_of({"x": entry(offsets=(8, 0))}, bytes(8)),
    "a gap": file_of({"x": entry(offsets=(8, 16))}, bytes(16)),
    "an overlap": file_of({"x": entry(), "y": entry()}, bytes(8)),
    "too little data": file_of({"x": entry()}, bytes(7)),
    "too much data": file_of({"x": entry()}, bytes(9)),
    "a name twice": file_of(b'{"x": {}, "x": {}}'),
    "an unknown dtype": file_of({"x": entry("F8_E4M3")}, bytes(8)),
    "metadata that is no text": file_of({"__metadata__": {"a": 1}}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError):
        safetensors.load(BAD[name])
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BAD[name])
    with pytest.raises(CheckpointError):
        load(path)


def test_random_damage(tensors) -> None:
    data, pick = safetensors.save(tensors), random.Random(0)
    refused = 0
    for _ in range(2000):
        found = bytearray(data)
        for _ in range(pick.choice((1, 2, 8))):
            at = pick.randrange(min(len(found), 1700))
            if pick.random() < 0.2:
                del found[at : at + pick.randrange(1, 9)]
            else:
                found[at] = pick.randrange(256)
        try:
            safetensors.load(bytes(found))
        except CheckpointError:
            refused += 1
    assert refused > 500


def test_beside_the_package(tmp_path: Path, tensors) -> None:
    theirs = pytest.importorskip("safetensors.numpy")
    tensors = {name: t for name, t in tensors.items() if t.dtype is not flambeau.bfloat16}
    arrays = {name: np.ascontiguousarray(t._array()).reshape(t.shape) for name, t in tensors.items()}
    path = tmp_path / "theirs.safetensors"
    theirs.save_file(arrays, path, metadata={"a": "b"})
    assert equal(safetensors.load_file(path), tensors)
    assert path.read_bytes() == safetensors.save(tensors, {"a": "b"})
    safetensors.save_file(tensors, path)
    found = theirs.load_file(path)
    assert all((found[name] == array).all() for name, array in arrays.items())
