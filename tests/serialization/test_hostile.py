"""Checkpoints made to do harm, or damaged: each gives one clear error, runs nothing and asks for no memory."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Iterator

import pytest

import flambeau
from flambeau.serialization import CheckpointError, load
from flambeau.serialization.archive import ArchiveWriter

ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + data


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 4) -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(size=(4,), stride=(1,), offset: int = 0, memory: bytes | None = None, metadata: bytes = b"") -> bytes:
    memory = storage() if memory is None else memory
    parts = memory + number(offset) + numbers(size) + numbers(stride) + b"\x89" + ORDERED_DICT + metadata
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"tR."


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """No test may take long or allocate much: that is the point of refusing."""
    tracemalloc.start()
    start = time.perf_counter()
    yield
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20 and seconds < 10


def test_the_hand_made_tensor_is_a_good_one(archive, loaded) -> None:
    found = loaded(archive(tensor((2, 2), (2, 1)), {"0": struct.pack("<4f", 1, 2, 3, 4)}))
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]


BAD_TENSORS = {
    "a count that its record does not have": tensor(memory=storage(count=2**60)),
    "a negative count": tensor(memory=storage(count=-4)),
    "a size beyond the storage": tensor((5,)),
    "a vast size": tensor((2**60,)),
    "a size whose product wraps around": tensor((2**32, 2**32), (2**32, 1)),
    "a vast empty size": tensor((2**62, 2**62, 0), (1, 1, 1), offset=2**62),
    "a stride beyond the storage": tensor((2,), (4,)),
    "a vast stride": tensor((2,), (2**62,)),
    "an offset beyond the storage": tensor((4,), (1,), offset=1),
    "a negative offset": tensor((2,), (1,), offset=-1),
    "a negative size": tensor((-1,)),
    "a negative stride": tensor((2,), (-1,)),
    "fewer strides than sizes": tensor((2, 2), (1,)),
    "too many dimensions": tensor((1,) * 100, (1,) * 100),
    "an expanded size that no address reaches": tensor((2**40, 2**40), (0, 0)),
    "a missing record": tensor(memory=storage(key="7")),
    "a key that leaves the archive": tensor(memory=storage(key="../version")),
    "a storage type that is none": tensor(memory=storage().replace(b"FloatStorage", b"Size")),
    "metadata that is a tuple": tensor(metadata=b"K\x01\x85"),
    "negated whole numbers": tensor((2,), (1,), 0, storage("LongStorage", count=2), b"}" + text("neg") + b"\x88s"),
    "a storage that is a list": tensor(memory=b"]"),
    "a persistent id of another kind": tensor(memory=b"(" + text("module") + text("x") + b"tQ"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_tensors(archive, loaded, name) -> None:
    with pytest.raises(CheckpointError, match="Weights only load failed|PytorchStreamReader|^.{0,40}storage"):
        loaded(archive(BAD_TENSORS[name], {"0": bytes(16)}))


BAD_PICKLES = {
    "empty": b"",
    "no end": b"\x80\x02}",
    "nothing to return": b"\x80\x02.",
    "unknown opcode": b"\x80\x02\xff.",
    "a future protocol": b"\x80\x63}.",
    "text longer than the file": b"\x80\x02X\xff\xff\xff\xffabc.",
    "text of 2**63 bytes": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "a number of negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "text that is none": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "a memo that is not there": b"\x80\x02h\x05.",
    "a mark that is not there": b"\x80\x02t.",
    "items without a dict": b"\x80\x02](K\x01K\x02u.",
    "an odd number of items": b"\x80\x02}(K\x01u.",
    "append to a tuple": b"\x80\x02)K\x01a.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "an endless name": b"\x80\x02c" + b"a" * 100_000,
    "calling what is no function": b"\x80\x02K\x01)R.",
    "calling a list": b"\x80\x02])R.",
    "a tensor class called": b"\x80\x02ctorch\nTensor\n)R.",
    "a function built": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
    "state for a list": b"\x80\x02]}b.",
    "arguments that are no tuple": b"\x80\x02ctorch\nSize\n]R.",
    "a size of text": b"\x80\x02ctorch\nSize\n(X\x01\x00\x00\x00at\x85R.",
    "a bytearray of a number": b"\x80\x02cbuiltins\nbytearray\n" + number(2**60) + b"\x85R.",
    "bytes by another codec": b"\x80\x02c_codecs\nencode\n" + text("a" * 1000) + text("zlib") + b"\x86R.",
    "a parameter of nothing": b"\x80\x02ctorch._utils\n_rebuild_parameter\nN\x88" + ORDERED_DICT + b"\x87R.",
    "a key nested too deep": b"\x80\x02}K\x01" + b"\x85" * 100_000 + b"K\x01s.",
    "a key that doubles at every step": b"\x80\x02}K\x01\x85" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
    "a set of keys that double": b"\x80\x02cbuiltins\nset\n(K\x01\x85" + b"q\x00h\x00\x86" * 60 + b"t\x85R.",
}


def test_an_empty_tensor_may_claim_any_offset_and_stride(archive, loaded) -> None:
    for stride, offset in (((0, 1), 2**62), ((2**62, 2**62), 0), ((3, 1), 4)):
        found = loaded(archive(tensor((0, 3), stride, offset), {"0": bytes(16)}))
        assert found.shape == (0, 3) and found.tolist() == []


@pytest.mark.parametrize("name", BAD_PICKLES)
def test_bad_pickles(archive, loaded, name) -> None:
    with pytest.raises(CheckpointError):
        loaded(archive(BAD_PICKLES[name]))
    if name != "empty":
        with pytest.raises(CheckpointError):
            loaded(BAD_PICKLES[name])


def test_a_pickle_may_not_copy_more_than_it_brings(archive, loaded) -> None:
    """One large tuple, turned into a Size a hundred thousand times: gigabytes out of a megabyte."""
    large = b"(" + b"K\x01" * 200_000 + b"tq\x00"
    copies = b"ctorch\nSize\nq\x010(" + b"h\x01h\x00\x85R" * 100_000 + b"t."
    with pytest.raises(CheckpointError, match="far more work and memory"):
        loaded(archive(b"\x80\x02" + large + copies))


def test_deep_nesting_loads_and_is_let_go(archive, loaded) -> None:
    found = loaded(archive(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))
    depth = 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 99_999


GLOBALS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("sys", "exit"), ("builtins", "eval"),
    ("__builtin__", "exec"), ("builtins", "getattr"), ("subprocess", "Popen"),
    ("torch", "load"), ("torch.hub", "load"), ("flambeau", "load"),
    ("torch.storage", "_load_from_bytes"), ("torch.nn.modules.linear", "Linear"), ("functools", "partial"),
    ("numpy.core.multiarray", "_reconstruct"), ("collections", "defaultdict"), ("torch", "os.system"), ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), GLOBALS, ids=str)
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_globals_are_refused_by_name(archive, loaded, module, name, protocol) -> None:
    spelled = f"c{module}\n{name}\n".encode() if protocol == 2 else text(module) + text(name) + b"\x93"
    with pytest.raises(CheckpointError) as error:
        loaded(archive(b"\x80" + bytes([protocol]) + spelled + text("echo") + b"\x85R."))
    full = f"{module}.{name}".removeprefix("builtins.").removeprefix("__builtin__.")
    if module in ("os", "posix", "nt", "sys"):
        assert f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked." in str(error.value)
    else:
        assert f"GLOBAL {full} was not an allowed global by default" in str(error.value)
    assert str(error.value).startswith("Weights only load failed.")


def test_the_old_instruction_for_instances_is_unknown(archive, loaded) -> None:
    for code in (b"(ios\nsystem\n.", b"(cos\nsystem\no.", b"\x82\x01."):
        with pytest.raises(CheckpointError, match="Unsupported operand|blocked"):
            loaded(archive(b"\x80\x02" + code))


def test_a_tensors_state_cannot_reach_its_memory(archive, loaded) -> None:
    plain = tensor()[2:-1].replace(b"tR", b"t").replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"")
    for name in ("_storage", "_shape", "_offset", "dtype", "__class__", "__dict__"):
        state = b"}" + text(name) + b"K\x01s"
        call = (
            b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n"
            + plain + state + b"tR."
        )  # fmt: skip
        with pytest.raises(CheckpointError, match="may not set the attribute"):
            loaded(archive(call, {"0": bytes(16)}))


def test_a_dtype_we_do_not_have_is_named(archive, loaded) -> None:
    for name in ("uint16", "float8_e5m2", "QInt8Storage"):
        with pytest.raises(CheckpointError, match=rf"torch\.{name}, which Flambeau does not have"):
            loaded(archive(f"\x80\x02ctorch\n{name}\n.".encode("latin1")))


@pytest.mark.parametrize("what", ["sparse", "nested"])
def test_what_is_not_supported_is_said(archive, loaded, what) -> None:
    with pytest.raises(CheckpointError, match=f"a {what} tensor, which Flambeau does not support"):
        loaded(archive(f"\x80\x02ctorch._utils\n_rebuild_{what}_tensor\n)R.".encode("latin1")))


# -- containers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def good(saved) -> bytes:
    return saved({"x": flambeau.arange(100.0), "y": flambeau.ones(3)})


@pytest.mark.parametrize("zip_format", [True, False])
def test_every_truncation_is_an_error(saved, loaded, zip_format) -> None:
    data = saved({"x": flambeau.arange(10.0)}, _use_new_zipfile_serialization=zip_format)
    for end in range(len(data)):
        with pytest.raises(CheckpointError):
            loaded(data[:end])


def test_an_empty_file_is_an_end_of_file() -> None:
    with pytest.raises(EOFError, match="empty"):
        load(io.BytesIO())


def test_other_files_are_not_checkpoints(loaded) -> None:
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"<html>404</html>", b"\x1f\x8b" + bytes(50), bytes(1000)):
        with pytest.raises(CheckpointError):
            loaded(data)
    with pytest.raises(CheckpointError, match=r"Invalid magic number; .* It starts with b'<html>404</html>'"):
        loaded(b"<html>404</html>")
    for weights_only in (True, False):
        with pytest.raises(CheckpointError, match=r"\.tar format of PyTorch 0\.1"):
            loaded(bytes(257) + b"ustar" + bytes(250), weights_only=weights_only)
    for data in (b"PK\x03\x04" + bytes(1000), b"PK\x03\x04"):
        with pytest.raises(CheckpointError, match="failed finding central directory"):
            loaded(data)


def test_damaged_data_is_found_by_its_checksum(good, loaded) -> None:
    at = good.index(struct.pack("<4f", 1, 2, 3, 4))
    with pytest.raises(CheckpointError, match="bad CRC-32"):
        loaded(good[:at] + b"\xff" + good[at + 1 :])


def test_a_checksum_of_zero_means_none(good, loaded) -> None:
    """PyTorch writes it so when told to compute none."""
    table = bytearray(good)
    at = table.index(b"PK\x01\x02")
    while at >= 0:
        table[at + 16 : at + 20] = bytes(4)
        at = table.find(b"PK\x01\x02", at + 4)
    assert loaded(bytes(table))["y"].tolist() == [1.0] * 3


def zipped(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_files_that_are_no_checkpoints(loaded) -> None:
    pickle = b"\x80\x02}."
    assert loaded(zipped([("archive/data.pkl", pickle)])) == {}
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        loaded(zipped([("archive/data.pkl", pickle * 1000)], zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="two records are named"):
        loaded(zipped([("archive/data.pkl", pickle), ("archive/data.pkl", pickle)]))
    with pytest.raises(CheckpointError, match="data.pkl: file not found"):
        loaded(zipped([("archive/other", pickle)]))
    with pytest.raises(RuntimeError, match="TorchScript"):
        loaded(zipped([("archive/constants.pkl", pickle), ("archive/data.pkl", pickle)]))


def test_records_that_overlap_are_refused(loaded) -> None:
    """A thousand names for one record would make a large checkpoint out of a small file."""
    data = bytearray(zipped([("a/data.pkl", b"\x80\x02}."), ("a/data/0", bytes(4096)), ("a/data/1", bytes(4096))]))
    first, second = (data.index(name, data.index(b"PK\x01\x02")) - 46 for name in (b"a/data/0", b"a/data/1"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    with pytest.raises(CheckpointError, match="overlaps|contradicts"):
        loaded(bytes(data))


@pytest.mark.parametrize("field", [20, 24, 42, 28, 30, 32])
def test_lying_directories(good, loaded, field) -> None:
    at = good.index(b"PK\x01\x02")
    for value in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff"):
        width = 2 if field in (28, 30, 32) else 4
        with pytest.raises(CheckpointError):
            loaded(good[: at + field] + value[:width] + good[at + field + width :])


def test_a_directory_of_a_billion_entries(good, loaded) -> None:
    at = good.index(b"PK\x06\x06")
    with pytest.raises(CheckpointError):
        loaded(good[: at + 24] + struct.pack("<QQ", 10**9, 10**9) + good[at + 40 :])


def test_storages_of_the_old_format_must_fit(saved, loaded) -> None:
    data = saved(flambeau.arange(4.0), _use_new_zipfile_serialization=False)
    at = data.rindex(struct.pack("<q", 4))
    for count in (2**60, -1, 5, 3):
        with pytest.raises(CheckpointError):
            loaded(data[:at] + struct.pack("<q", count) + data[at + 8 :])
    vast = data.replace(b"K\x04Nt", b"\x8a\x08" + struct.pack("<q", 2**60) + b"Nt")
    assert vast != data
    with pytest.raises(CheckpointError, match="claims more bytes than the file has"):
        loaded(vast)


def test_a_byte_order_that_is_none(loaded) -> None:
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    writer.write("data.pkl", b"\x80\x02}.")
    writer.write("byteorder", b"middle")
    writer.close()
    with pytest.raises(CheckpointError, match="Unknown endianness type: middle"):
        loaded(buffer.getvalue())
