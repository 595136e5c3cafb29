"""What is saved comes back: values, dtypes, layouts, sharing, through every format and kind of file."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flambeau
from flambeau.devices import device
from flambeau.dtypes import ALL
from flambeau.nn.parameter import Parameter
from flambeau.serialization import load, save
from flambeau.serialization.archive import ArchiveWriter
from flambeau.serialization.errors import CheckpointError
from flambeau.tensors import from_array

FORMATS = [
    {},
    {"pickle_protocol": 1},
    {"pickle_protocol": 4},
    {"pickle_protocol": 5},
    {"_use_new_zipfile_serialization": False},
    {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
]


@pytest.mark.parametrize("options", [f for f in FORMATS if f.get("pickle_protocol") != 1], ids=str)
@pytest.mark.parametrize("weights_only", [True, False])
def test_everything_comes_back(sample, same, saved, loaded, options, weights_only) -> None:
    assert same(sample, loaded(saved(sample, **options), weights_only=weights_only))


def test_an_old_protocol_comes_back_through_the_full_unpickler(sample, same, saved, loaded) -> None:
    assert same(sample, loaded(saved(sample, pickle_protocol=1), weights_only=False))


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=20),
    st.complex_numbers(allow_nan=False), st.sampled_from(ALL),
)  # fmt: skip
keys = st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.tuples(st.integers(), st.text(max_size=3)))


@st.composite
def tensors(draw: st.DrawFn) -> flambeau.Tensor:
    dtype = draw(st.sampled_from(ALL))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = int(np.prod(shape, dtype=int))
    data = np.frombuffer(draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize)), np.uint8)
    if dtype.name == "bool":
        data = data & 1
    array = data.copy().view(dtype.np).reshape(shape)
    return from_array(array.transpose(draw(st.permutations(range(len(shape))))))


objects = st.recursive(
    st.one_of(leaves, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=12,
)  # fmt: skip


@given(obj=objects, options=st.sampled_from([FORMATS[0], FORMATS[2], FORMATS[4]]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_data_comes_back(same, obj, options) -> None:
    buffer = io.BytesIO()
    save(obj, buffer, **options)
    buffer.seek(0)
    assert same(obj, load(buffer))


def test_views_still_share_their_memory(saved, loaded) -> None:
    base = flambeau.arange(10.0)
    found = loaded(saved({"all": base, "odd": base.as_strided((5,), (2,), 1), "again": base}))
    assert found["all"] is found["again"]
    found["all"].fill_(7)
    assert found["odd"].tolist() == [7.0] * 5
    assert found["odd"]._strides == (2,) and found["odd"].storage_offset() == 1


def test_a_view_brings_its_whole_storage(saved, loaded) -> None:
    row = loaded(saved(flambeau.arange(1000.0).reshape(10, 100).select(0, 3)))
    assert row.untyped_storage().nbytes() == 4000 and row.tolist() == list(range(300, 400))


def test_loaded_tensors_can_be_written(saved, loaded) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        found = loaded(saved(flambeau.zeros(3), **options))
        found.add_(1)
        assert found.tolist() == [1.0, 1.0, 1.0]


def test_computed_tensors_come_back_as_leaves(saved, loaded) -> None:
    found = loaded(saved(flambeau.ones(2).requires_grad_() * 2))
    assert found.is_leaf and found.requires_grad and found.tolist() == [2.0, 2.0]


def test_attributes_of_tensors_are_kept(saved, loaded) -> None:
    tensor = flambeau.ones(2)
    tensor.tag = {"name": "mask"}
    parameter = Parameter(tensor)
    parameter.tag = 3
    found = loaded(saved([tensor, parameter]))
    assert found[0].tag == {"name": "mask"} and found[1].tag == 3 and type(found[1]) is Parameter


def test_one_memory_under_two_dtypes_is_refused(saved) -> None:
    tensor = flambeau.zeros(4)
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        saved([tensor, tensor.view(flambeau.int32)])


def test_paths_files_and_archive_names(tmp_path: Path, sample, same) -> None:
    path = tmp_path / "model.best.pt"
    save(sample, path)
    assert same(sample, load(str(path))) and same(sample, load(path))
    assert zipfile.ZipFile(path).namelist()[0] == "model.best/data.pkl"
    with open(path, "rb") as file:
        assert same(sample, load(file))
    save(1, tmp_path / "モデル.pt")
    assert zipfile.ZipFile(tmp_path / "モデル.pt").namelist()[0] == "archive/data.pkl"
    assert load(tmp_path / "モデル.pt") == 1


def test_the_archive_is_one_that_zip_tools_accept(tmp_path: Path, sample) -> None:
    save(sample, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        data = [i for i in archive.infolist() if "/data/" in i.filename]
        raw = (tmp_path / "a.pt").read_bytes()
    for info in data:
        name_and_extra = raw[info.header_offset + 26 : info.header_offset + 30]
        start = info.header_offset + 30 + sum(int.from_bytes(name_and_extra[i : i + 2], "little") for i in (0, 2))
        assert start % 64 == 0, "storages are aligned, so that they can be mapped"


def test_a_checkpoint_may_start_anywhere_in_a_file(sample, same, saved) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        file = io.BytesIO(b"preamble" + saved(sample, **options))
        file.seek(8)
        assert same(sample, load(file))


def test_the_old_format_lets_objects_follow_each_other_in_one_file() -> None:
    file = io.BytesIO()
    for i in range(3):
        save(flambeau.full((2,), i), file, _use_new_zipfile_serialization=False)
    file.seek(0)
    assert [load(file).tolist() for _ in range(3)] == [[0, 0], [1, 1], [2, 2]]


def test_gzip_files(tmp_path: Path, sample, same) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        with gzip.open(tmp_path / "c.pt.gz", "wb") as file:
            save(sample, file, **options)
        with gzip.open(tmp_path / "c.pt.gz") as file:
            assert same(sample, load(file))


def test_mapping_reads_lazily_and_writes_privately(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    save({"x": flambeau.arange(1000.0), "y": flambeau.ones(3)}, path)
    before = path.read_bytes()
    found = load(path, mmap=True)
    found["x"].mul_(2)
    assert found["x"].tolist() == [2.0 * i for i in range(1000)] and found["y"].tolist() == [1.0] * 3
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="f must be a file path"):
        load(io.BytesIO(before), mmap=True)
    save(1, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap can only be used"):
        load(path, mmap=True)


@pytest.mark.parametrize(
    "where", ["cpu", device("cpu"), {"cuda:0": "cpu"}, lambda s, tag: s, lambda s, tag: None, lambda s, tag: s.cpu()]
)
def test_map_location(saved, loaded, where) -> None:
    assert loaded(saved(flambeau.ones(2)), map_location=where).tolist() == [1.0, 1.0]


def test_a_checkpoint_from_another_device_says_what_to_do(archive, loaded) -> None:
    pickle_ = pickle_of_tensor("cuda:0")
    data = archive(pickle_, {"0": bytes(8)})
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        loaded(data)
    for where in ("cpu", {"cuda:0": "cpu"}, lambda storage, tag: storage):
        assert loaded(data, map_location=where).tolist() == [0.0, 0.0]
    seen = []
    loaded(data, map_location=lambda storage, tag: seen.append((tag, storage.nbytes())) or storage)
    assert seen == [("cuda:0", 8)]


def pickle_of_tensor(location: str) -> bytes:
    text = b"X" + len(location).to_bytes(4, "little") + location.encode()
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000" + text + b"K\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR."
    )


def test_big_endian_files_are_swapped(archive, loaded) -> None:
    values = np.array([1.5, -2.0], ">f4").tobytes()
    data = archive(pickle_of_tensor("cpu"), {"0": values})
    at = data.index(b"little")
    swapped = bytearray(data)
    swapped[at : at + 6] = b"big\0\0\0"
    with pytest.raises((CheckpointError, ValueError)):
        loaded(bytes(swapped))
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    for name, record in (("data.pkl", pickle_of_tensor("cpu")), ("byteorder", b"big"), ("data/0", values)):
        writer.write(name, record)
    writer.close()
    assert loaded(buffer.getvalue()).tolist() == [1.5, -2.0]


def test_the_pickle_names_only_pytorch(sample, saved) -> None:
    for options in ({}, {"pickle_protocol": 4}):
        data = zipfile.ZipFile(io.BytesIO(saved(sample, **options))).read("archive/data.pkl")
        assert b"flambeau" not in data and b"torch" in data


def test_a_pickle_module_may_be_given(sample, same, saved, loaded) -> None:
    data = saved(sample, pickle_module=pickle)
    assert same(sample, loaded(data, pickle_module=pickle))
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        loaded(data, pickle_module=pickle, weights_only=True)
