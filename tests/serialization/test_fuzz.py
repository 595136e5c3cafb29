"""The reader under random damage: a loaded object or a CheckpointError, soon and in little memory, and nothing else."""

from __future__ import annotations

import io
import random
import time
from typing import Any

import pytest

from flambeau.serialization import CheckpointError, load
from flambeau.serialization.archive import ArchiveReader, ArchiveWriter
from flambeau.serialization.weights_only import _OPCODES
from flambeau.tensors import Tensor

CODES = sorted(_OPCODES)
FORMATS = (
    {},
    {"pickle_protocol": 4},
    {"_use_new_zipfile_serialization": False},
    {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
)
NAMES = (
    b"torch\nSize\n", b"torch\nFloatStorage\n", b"collections\nOrderedDict\n", b"builtins\nset\n",
    b"torch._utils\n_rebuild_tensor_v2\n", b"torch._tensor\n_rebuild_from_type_v2\n",
    b"torch.nn.parameter\nParameter\n",
)  # fmt: skip
RUNS = 1500


def damaged(data: bytes, pick: random.Random) -> bytes:
    """A few random edits: bytes and bits changed, pieces cut, copied, and opcodes put in."""
    found = bytearray(data)
    for _ in range(pick.choice((1, 1, 1, 2, 4, 10))):
        if not found:
            break
        at, kind = pick.randrange(len(found)), pick.randrange(7)
        if kind == 0:
            found[at] = pick.randrange(256)
        elif kind == 1:
            found[at] ^= 1 << pick.randrange(8)
        elif kind == 2:
            del found[at:]
        elif kind == 3:
            found[at:at] = bytes([pick.choice(CODES)] * pick.choice((1, 1, 2, 50)))
        elif kind == 4:
            start = pick.randrange(len(found))
            found[at:at] = found[start : start + pick.randrange(40)]
        elif kind == 5:
            del found[at : at + pick.randrange(20)]
        else:
            found[at : at + 4] = pick.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
    return bytes(found)


def with_pickle(data: bytes, pickle: bytes) -> bytes:
    """The archive with another pickle and right checksums, so that the damage reaches the unpickler."""
    reader, buffer = ArchiveReader(io.BytesIO(data)), io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    writer.write("data.pkl", pickle)
    for name in reader.names():
        if name.startswith("data/"):
            writer.write(name, reader.read(name))
    writer.close()
    return buffer.getvalue()


def touch(found: Any) -> None:
    """Look at the memory of loaded tensors."""
    waiting = [found]
    for _ in range(200):
        part = waiting.pop() if waiting else None
        if isinstance(part, Tensor):
            repr(part)
        elif isinstance(part, (list, tuple)):
            waiting.extend(part[:50])
        elif isinstance(part, dict):
            waiting.extend(part.values())


def attempt(data: bytes) -> bool:
    """Whether it loads; anything but success and CheckpointError goes through."""
    start = time.perf_counter()
    try:
        touch(load(io.BytesIO(data)))
    except CheckpointError as error:
        assert str(error)
        return False
    finally:
        assert time.perf_counter() - start < 5
    return True


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_damaged_files(sample, saved, options) -> None:
    data, pick = saved(sample, **options), random.Random(str(options))
    assert attempt(data)
    outcomes = [attempt(damaged(data, pick)) for _ in range(RUNS)]
    assert outcomes.count(False) > RUNS // 4


@pytest.mark.parametrize("options", FORMATS[:2], ids=str)
def test_damaged_pickles(sample, saved, options) -> None:
    data, pick = saved(sample, **options), random.Random(str(options))
    pickle = ArchiveReader(io.BytesIO(data)).read("data.pkl").tobytes()
    outcomes = [attempt(with_pickle(data, damaged(pickle, pick))) for _ in range(RUNS)]
    assert outcomes.count(False) > RUNS // 4


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_of_opcodes(archive, seed) -> None:
    """Pickles made of nothing but valid opcodes in random order, with small arguments."""
    pick = random.Random(seed)

    def argument(code: int) -> bytes:
        if code == ord("c"):
            return pick.choice(NAMES)
        return bytes(pick.randrange(4) for _ in range(pick.choice((0, 1, 4))))

    for _ in range(RUNS):
        codes = [pick.choice(CODES) for _ in range(pick.randrange(30))]
        body = b"".join(bytes([code]) + argument(code) for code in codes)
        attempt(archive(b"\x80\x02" + body + b".", {"0": bytes(16)}))
