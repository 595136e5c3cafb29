"""Checkpoints beside PyTorch, both ways: the same bytes, the same objects, the same refusals."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.serialization
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau
import flambeau.nn
import flambeau.optim
from flambeau.devices import device
from flambeau.dtypes import ALL, by_name
from flambeau.engine.value import Storage
from flambeau.methods.structure import strided
from flambeau.nn.parameter import Parameter
from flambeau.serialization import load, safe_globals, save
from flambeau.serialization.names import torch_name
from flambeau.shape import Size
from flambeau.tensors import Tensor, make

FORMATS = [{}, {"_use_new_zipfile_serialization": False}]
NAMES = [d.name for d in ALL]


def bytes_of(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def to_ours(obj: Any) -> Any:
    """The same object with Flambeau's tensors, sizes, dtypes and devices."""
    if isinstance(obj, torch.Tensor):
        raw = torch.empty(0, dtype=torch.uint8).set_(obj.detach().untyped_storage()).numpy().copy()
        kind = by_name(str(obj.dtype)[6:])
        tensor = make(Storage(raw), tuple(obj.shape), tuple(obj.stride()), obj.storage_offset(), kind)
        return Parameter(tensor, obj.requires_grad) if isinstance(obj, torch.nn.Parameter) else tensor
    if isinstance(obj, torch.Size):
        return Size(obj)
    if isinstance(obj, torch.dtype):
        return by_name(str(obj)[6:])
    if isinstance(obj, torch.device):
        return device(str(obj))
    if isinstance(obj, dict):
        return type(obj)((to_ours(k), to_ours(v)) for k, v in obj.items()) if type(obj) is not Counter else obj
    if isinstance(obj, (list, tuple)):
        return type(obj)(to_ours(v) for v in obj)
    return obj


def same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return (
            isinstance(ours, Tensor)
            and str(theirs.dtype) == str(ours.dtype)
            and tuple(theirs.shape) == tuple(ours.shape)
            and (not theirs.numel() or theirs.is_conj() or tuple(theirs.stride()) == tuple(ours._strides))
            and theirs.requires_grad == ours.requires_grad
            and isinstance(theirs, torch.nn.Parameter) == isinstance(ours, Parameter)
            and bytes_of(theirs) == ours._array().tobytes()
        )
    if isinstance(theirs, (torch.dtype, torch.device, torch.Size)):
        return repr(theirs) == repr(ours)
    if type(theirs) is not type(ours):
        return False
    if isinstance(theirs, dict):
        pairs = list(zip(theirs.items(), ours.items()))
        return len(theirs) == len(ours) and all(same(a, c) and same(b, d) for (a, b), (c, d) in pairs)
    if isinstance(theirs, (list, tuple)):
        return len(theirs) == len(ours) and all(map(same, theirs, ours))
    return theirs == ours


def moved(obj: Any, write: Any, read: Any, **options: Any) -> Any:
    buffer = io.BytesIO()
    write(obj, buffer)
    buffer.seek(0)
    return read(buffer, **options)


@st.composite
def torch_tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = getattr(torch, draw(st.sampled_from(NAMES)))
    shape = draw(st.lists(st.integers(1, 4), max_size=4))
    base = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    tensor = base.to(dtype).reshape(shape)
    if shape and draw(st.booleans()):
        tensor = tensor.transpose(0, draw(st.integers(0, len(shape) - 1)))
    if dtype.is_floating_point and draw(st.booleans()):
        tensor = torch.nn.Parameter(tensor, draw(st.booleans()))
    return tensor


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.binary(min_size=1, max_size=20), st.complex_numbers(allow_nan=False), torch_tensors(),
    st.sampled_from([getattr(torch, name) for name in NAMES]), st.just(torch.device("cpu")),
    st.lists(st.integers(0, 9), max_size=3).map(torch.Size), st.lists(st.integers(0, 3), max_size=5).map(Counter),
)  # fmt: skip
objects = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=10,
)  # fmt: skip


@given(obj=objects, options=st.sampled_from(FORMATS), weights_only=st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_pytorch_saves_flambeau_loads(obj, options, weights_only) -> None:
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    buffer.seek(0)
    assert same(obj, load(buffer, weights_only=weights_only))


@given(obj=objects, options=st.sampled_from(FORMATS), weights_only=st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_flambeau_saves_pytorch_loads(obj, options, weights_only) -> None:
    buffer = io.BytesIO()
    save(to_ours(obj), buffer, **options)
    buffer.seek(0)
    assert same(torch.load(buffer, weights_only=weights_only), to_ours(obj))


@given(obj=st.dictionaries(st.text(max_size=5), torch_tensors(), max_size=6).map(OrderedDict))
@settings(max_examples=100, deadline=None)
def test_the_files_are_the_same_to_the_byte(obj) -> None:
    """All but the id at the end, which PyTorch makes with C++'s hash function."""
    theirs, ours = io.BytesIO(), io.BytesIO()
    torch.save(obj, theirs)
    save(to_ours(obj), ours)
    end = theirs.getvalue().index(b"archive/.data/serialization_id")
    assert ours.getvalue()[:end] == theirs.getvalue()[:end]


def test_pytorch_maps_our_files(tmp_path) -> None:
    path = os.fspath(tmp_path / "model.pt")
    save({"a": flambeau.arange(1000.0), "b": flambeau.ones(3), "e": flambeau.zeros(0)}, path)
    with torch.utils.serialization.config.patch({"load.calculate_storage_offsets": True}):
        found = torch.load(path, mmap=True)
    assert found["a"].tolist() == list(range(1000)) and found["b"].tolist() == [1.0] * 3
    assert zipfile.ZipFile(path).namelist()[0] == "model/data.pkl"


def test_sharing_goes_both_ways() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    buffer = io.BytesIO()
    torch.save({"all": base, "row": base[1], "turned": base.t()}, buffer)
    buffer.seek(0)
    ours = load(buffer)
    ours["all"].fill_(5)
    assert ours["row"].tolist() == [5.0] * 4
    again = io.BytesIO()
    save(ours, again)
    again.seek(0)
    theirs = torch.load(again)
    theirs["turned"].fill_(7)
    assert theirs["row"].tolist() == [7.0] * 4


def test_the_layout_goes_both_ways() -> None:
    assert moved([torch.strided], torch.save, load) == [strided]
    assert moved([strided], save, torch.load) == [torch.strided]


def test_unloadable_tensors_are_named() -> None:
    cases = {
        "sparse tensor": torch.eye(3).to_sparse(), "meta device": torch.ones(2, device="meta"),
        "torch.uint16": torch.ones(2).to(torch.uint16), "torch.float8_e5m2": torch.ones(2).to(torch.float8_e5m2),
    }  # fmt: skip
    for text, tensor in cases.items():
        buffer = io.BytesIO()
        torch.save(tensor, buffer)
        buffer.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=text):
            load(buffer)


class Secret:
    def __init__(self) -> None:
        self.value = 3


@pytest.mark.parametrize(
    "obj", [torch.nn.Linear(2, 2), os.system, Secret(), {1, Secret}, slice(1, 2), torch.nn.Module, zipfile.ZipFile],
    ids=["module", "function", "object", "set", "slice", "class", "other class"],
)  # fmt: skip
@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_refusals_read_the_same(obj, options) -> None:
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    messages = []
    for read in (torch.load, load):
        buffer.seek(0)
        with pytest.raises(pickle.UnpicklingError) as error:
            read(buffer)
        messages.append(str(error.value))
    if "GLOBAL" in messages[0]:
        assert messages[0] == messages[1] or "is blocked" in messages[0]


def test_the_users_own_classes_after_permission() -> None:
    for write, read, allow in ((torch.save, load, safe_globals), (save, torch.load, torch.serialization.safe_globals)):
        buffer = io.BytesIO()
        write({"s": Secret()}, buffer)
        buffer.seek(0)
        with allow([Secret]):
            assert read(buffer)["s"].value == 3
        buffer.seek(0)
        with pytest.raises(pickle.UnpicklingError, match="Secret was not an allowed global"):
            read(buffer)


def test_errors_of_files_are_of_the_same_kind(tmp_path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.arange(100), buffer)
    data = buffer.getvalue()
    for bad in (b"", b"PK\x03\x04", data[:100], data[:-10]):
        kinds = []
        for read in (torch.load, load):
            with pytest.raises(Exception) as error:  # noqa: B017
                read(io.BytesIO(bad))
            kinds.append(error.value)
        assert isinstance(kinds[1], type(kinds[0]))
    for read, write in ((torch.load, torch.save), (load, save)):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent.pt")
        with pytest.raises(RuntimeError, match=r"Parent directory .* does not exist\."):
            write(1, tmp_path / "absent" / "x.pt")


# -- modules and optimizers ----------------------------------------------------------------------------------------


def test_every_class_of_nn_has_pytorchs_name() -> None:
    wrong = []
    for name, theirs in vars(torch.nn).items():
        ours = getattr(flambeau.nn, name, None)
        if isinstance(theirs, type) and isinstance(ours, type) and name == theirs.__name__ == ours.__name__:
            if torch_name(ours) != (theirs.__module__, theirs.__qualname__):
                wrong.append((torch_name(ours), theirs.__module__))
    assert not wrong


def networks(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(64, 5),
    )  # fmt: skip


def outputs(theirs: Any, ours: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        return theirs.eval()(torch.from_numpy(x)).numpy(), ours.eval()(flambeau.from_numpy(x)).detach().numpy()


def test_state_dicts_go_both_ways() -> None:
    torch.manual_seed(1)
    theirs, ours = networks(torch), networks(flambeau)
    theirs(torch.randn(4, 3, 8, 8))
    assert str(ours.load_state_dict(moved(theirs.state_dict(), torch.save, load))) == "<All keys matched successfully>"
    np.testing.assert_allclose(*outputs(theirs, ours), rtol=1e-5, atol=1e-6)
    fresh = networks(torch)
    fresh.load_state_dict(moved(ours.state_dict(), save, torch.load))
    np.testing.assert_array_equal(outputs(fresh, ours)[0], outputs(theirs, ours)[0])


def test_whole_modules_go_both_ways() -> None:
    theirs = networks(torch)
    ours = moved(theirs, torch.save, load, weights_only=False)
    assert type(ours) is flambeau.nn.Sequential
    np.testing.assert_allclose(*outputs(theirs, ours), rtol=1e-5, atol=1e-6)
    back = moved(ours, save, torch.load, weights_only=False)
    assert type(back) is torch.nn.Sequential
    np.testing.assert_array_equal(outputs(back, ours)[0], outputs(theirs, ours)[0])


def test_modules_that_hold_functions_go_both_ways() -> None:
    theirs = torch.nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True)
    ours = moved(theirs, torch.save, load, weights_only=False)
    assert ours.activation is flambeau.nn.functional.gelu
    back = moved(ours, save, torch.load, weights_only=False)
    assert back.activation is torch.nn.functional.gelu
    for lib, read, write in ((torch, load, torch.save), (flambeau, torch.load, save)):
        functions = [lib.nn.functional.relu, lib.relu, lib.nn.functional.cross_entropy, lib.nn.init.zeros_]
        found = moved(functions, write, read, weights_only=False)
        assert [f.__name__ for f in found] == ["relu", "relu", "cross_entropy", "zeros_"]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers_go_both_ways(name: str) -> None:
    def steps(lib: Any, net: Any, optimizer: Any, count: int) -> None:
        for i in range(count):
            x = np.random.default_rng(i).standard_normal((4, 3)).astype(np.float32)
            optimizer.zero_grad()
            net(lib.from_numpy(x)).square().sum().backward()
            optimizer.step()

    options = {"lr": 0.01} | ({"momentum": 0.9} if name == "SGD" else {})
    theirs, ours = torch.nn.Linear(3, 2), flambeau.nn.Linear(3, 2)
    their_optimizer = getattr(torch.optim, name)(theirs.parameters(), **options)
    our_optimizer = getattr(flambeau.optim, name)(ours.parameters(), **options)
    steps(torch, theirs, their_optimizer, 3)
    ours.load_state_dict(moved(theirs.state_dict(), torch.save, load))
    our_optimizer.load_state_dict(moved(their_optimizer.state_dict(), torch.save, load))
    back, back_optimizer = torch.nn.Linear(3, 2), None
    back.load_state_dict(moved(ours.state_dict(), save, torch.load))
    back_optimizer = getattr(torch.optim, name)(back.parameters(), **options)
    back_optimizer.load_state_dict(moved(our_optimizer.state_dict(), save, torch.load))
    for lib, net, optimizer in (
        (torch, theirs, their_optimizer), (flambeau, ours, our_optimizer), (torch, back, back_optimizer)
    ):  # fmt: skip
        steps(lib, net, optimizer, 3)
    expected = theirs.weight.detach().numpy()
    np.testing.assert_allclose(ours.weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(back.weight.detach().numpy(), expected)
