"""The settings of saving and loading, and the permission of other classes."""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import serialization
from flambeau.serialization import CheckpointError, load, locations, save
from flambeau.serialization.source import Source
from flambeau.serialization.weights_only import WeightsUnpickler


class Settings:
    """What a user pickles beside tensors."""

    def __init__(self, rate: float) -> None:
        self.rate = rate


class Slotted:
    __slots__ = ("a",)


class Strict:
    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("the user's own error")


class Listed(list):
    """A subclass of a container."""


@pytest.fixture(autouse=True)
def _restored() -> Any:
    yield
    serialization.clear_safe_globals()
    serialization.set_crc32_options(True)
    serialization.set_default_load_endianness(None)


def test_allowed_classes_are_built(saved, loaded) -> None:
    data = saved({"s": Settings(0.5)})
    with pytest.raises(CheckpointError, match=r"Settings was not an allowed global"):
        loaded(data)
    with serialization.safe_globals([Settings]):
        assert loaded(data)["s"].rate == 0.5 and serialization.get_safe_globals() == [Settings]
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([Settings])
    assert loaded(data)["s"].rate == 0.5
    serialization.clear_safe_globals()
    with pytest.raises(CheckpointError):
        loaded(data)
    assert loaded(data, weights_only=False)["s"].rate == 0.5


def test_slots_and_other_names(saved, loaded) -> None:
    item = Slotted()
    item.a = 3
    data = saved(item)
    with serialization.safe_globals([(Slotted, f"{Slotted.__module__}.{Slotted.__qualname__}")]):
        assert loaded(data).a == 3
    with serialization.safe_globals([(Settings, "elsewhere.Old")]):
        renamed = pickle.dumps(Settings(1.0), 2).replace(
            f"{Settings.__module__}\n{Settings.__qualname__}".encode(), b"elsewhere\nOld"
        )
        assert WeightsUnpickler(Source(io.BytesIO(renamed))).load().rate == 1.0
    for bad in ([(Settings,)], [(Settings, 3)]):
        with serialization.safe_globals(bad), pytest.raises((ValueError, TypeError), match="Expected"):  # type: ignore
            loaded(data)


def test_errors_of_allowed_classes_come_through(saved, loaded) -> None:
    item = Strict()
    item.a = 1
    with serialization.safe_globals([Strict]), pytest.raises(RuntimeError, match="^the user's own error$"):
        loaded(saved(item))


def test_permission_for_one_class_is_not_permission_for_another(saved, loaded) -> None:
    with serialization.safe_globals([Settings]):
        with pytest.raises(CheckpointError, match="Listed was not an allowed global"):
            loaded(saved([Settings(1.0), Listed([1])]))


def test_numpy_scalars_can_be_allowed(saved, loaded) -> None:
    data = saved({"accuracy": np.float64(0.5)})
    with pytest.raises(CheckpointError, match=r"multiarray\.scalar was not an allowed global"):
        loaded(data)
    scalar = np.float64(1).__reduce__()[0]
    with serialization.safe_globals([scalar, np.dtype, type(np.dtype(np.float64))]):
        assert loaded(data)["accuracy"] == 0.5


def test_what_a_checkpoint_names_can_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for protocol in (2, 4):
        save([Settings(1.0), Settings(2.0), flambeau.ones(1)], path, pickle_protocol=protocol)
        names = serialization.get_unsafe_globals_in_checkpoint(path)
        assert [name for name in names if "Settings" in name] == [f"{Settings.__module__}.Settings"]
        assert not any(name.startswith("torch") for name in names)
        with serialization.safe_globals([Settings]):
            assert f"{Settings.__module__}.Settings" not in serialization.get_unsafe_globals_in_checkpoint(path)
    save(1, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="Expected input to be a checkpoint"):
        serialization.get_unsafe_globals_in_checkpoint(path)


def test_checksums_can_be_left_out(saved, loaded) -> None:
    serialization.set_crc32_options(False)
    assert serialization.get_crc32_options() is False
    data = saved(flambeau.arange(3))
    assert all(info.CRC == 0 for info in zipfile.ZipFile(io.BytesIO(data)).infolist())
    assert loaded(data).tolist() == [0, 1, 2]


def test_data_can_be_left_out(saved, loaded) -> None:
    full = saved({"x": flambeau.ones(100)})
    with serialization.skip_data():
        empty = saved({"x": flambeau.ones(100)})
        assert loaded(full)["x"].shape == (100,)
        with pytest.raises(RuntimeError, match="Cannot use skip_data=True"):
            saved(1, _use_new_zipfile_serialization=False)
    assert len(empty) == len(full) and loaded(empty)["x"].tolist() == [0.0] * 100
    assert loaded(full)["x"].tolist() == [1.0] * 100


def test_the_assumed_byte_order(saved, loaded) -> None:
    data = saved(flambeau.tensor([1.0, 2.0]), _disable_byteorder_record=True)
    assert loaded(data).tolist() == [1.0, 2.0]
    serialization.set_default_load_endianness(serialization.LoadEndianness.BIG)
    assert loaded(data)._array().byteswap().tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="Invalid argument type"):
        serialization.set_default_load_endianness("big")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(mmap, "MAP_SHARED"), reason="mapping flags")
def test_a_shared_mapping_writes_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    save(flambeau.zeros(1000), path)
    with serialization.set_default_mmap_options(mmap.MAP_SHARED):
        found = load(path, mmap=True)
        found.fill_(3)
        del found
    assert serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
    serialization.set_crc32_options(True)
    assert load(path, mmap=True).tolist() == [3.0] * 1000
    with pytest.raises(ValueError, match="expected mmap.MAP_PRIVATE or mmap.MAP_SHARED"):
        serialization.set_default_mmap_options(99)


def test_the_environment_can_force_the_choice(saved, loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Settings(1.0))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.warns(UserWarning, match="forcing weights_only=False"):
        assert loaded(data).rate == 1.0
    with pytest.raises(CheckpointError):
        loaded(data, weights_only=True)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(RuntimeError, match="Only one of"):
        loaded(data)
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    with pytest.raises(CheckpointError):
        loaded(data, weights_only=False)


def test_other_places_can_be_registered(saved, loaded) -> None:
    before = list(locations._packages)
    serialization.register_package(
        5, lambda storage: "shelf", lambda storage, tag: storage if tag.startswith("shelf") else None
    )
    try:
        data = saved(flambeau.ones(2))
        assert b"shelf" in data and loaded(data).tolist() == [1.0, 1.0]
    finally:
        locations._packages[:] = before
    with pytest.raises(RuntimeError, match="don't know how to restore data location of .*tagged with shelf"):
        loaded(data)
    assert loaded(data, map_location="cpu").tolist() == [1.0, 1.0]
