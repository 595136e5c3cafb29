"""Writing: a file has its old content or its new one, whatever happens."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flambeau
from flambeau.serialization import load, save


class Unpicklable:
    def __reduce__(self) -> tuple:
        raise TypeError("cannot pickle this")


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, zip_format: bool) -> None:
    path = tmp_path / "last.pt"
    save({"step": 1}, path)
    with pytest.raises(TypeError, match="cannot pickle this"):
        save([flambeau.ones(100), Unpicklable()], path, _use_new_zipfile_serialization=zip_format)
    assert load(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_failed_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(Unpicklable(), tmp_path / "first.pt")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save(1, path)

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save(2, path)
    monkeypatch.undo()
    assert load(path) == 1 and os.listdir(tmp_path) == ["last.pt"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "busy.pt"
    save(flambeau.full((1000,), 0.0), path)
    stop = threading.Event()

    def write() -> None:
        step = 0.0
        while not stop.is_set():
            step += 1
            save(flambeau.full((1000,), step), path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert len(set(load(path).tolist())) == 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save("old", path)
    program = (
        "import flambeau, sys, time\n"
        "class Slow:\n"
        "    def __reduce__(self):\n"
        "        print('saving', flush=True); time.sleep(60); return str, ()\n"
        "from flambeau.serialization import save\n"
        "save(Slow(), sys.argv[1])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load(path) == "old"


@pytest.mark.skipif(os.name == "nt", reason="file modes")
def test_modes_and_links_are_kept(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        save(1, tmp_path / "new.pt")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new.pt").stat().st_mode) == 0o640
    (tmp_path / "new.pt").chmod(0o600)
    (tmp_path / "link.pt").symlink_to("new.pt")
    save(2, tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and load(tmp_path / "new.pt") == 2
    assert stat.S_IMODE((tmp_path / "new.pt").stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    save({"a": 1}, path)
    reader.join()
    assert load(io.BytesIO(received[0])) == {"a": 1}


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Parent directory .*absent does not exist\."):
        save(1, tmp_path / "absent" / "a.pt")
    with pytest.raises(IsADirectoryError):
        save(1, tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.pt")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_what_is_no_file() -> None:
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object"):
        save(1, 5)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="You can only torch.load from a file that is seekable"):
        load(5)  # type: ignore[arg-type]

    class Stream(io.RawIOBase):
        def readable(self) -> bool:
            return True

    with pytest.raises(io.UnsupportedOperation, match="pre-load the data into a buffer like io.BytesIO"):
        load(Stream())  # type: ignore[arg-type]


def test_a_file_that_only_reads_and_seeks_is_enough(tmp_path: Path) -> None:
    """No readinto: the least that a file-like object offers."""

    class Least:
        def __init__(self, data: bytes) -> None:
            file = io.BytesIO(data)
            self.read, self.seek, self.tell, self.readline = file.read, file.seek, file.tell, file.readline

    for zip_format in (True, False):
        buffer = io.BytesIO()
        save(flambeau.arange(5), buffer, _use_new_zipfile_serialization=zip_format)
        assert load(Least(buffer.getvalue())).tolist() == [0, 1, 2, 3, 4]  # type: ignore[arg-type]


def test_saving_is_not_slow(tmp_path: Path) -> None:
    """A thousand small tensors and one of 40 MB: no copy of the data in Python, no quadratic bookkeeping."""
    state = {f"layer.{i}": flambeau.zeros(8) for i in range(1000)} | {"big": flambeau.zeros(10_000_000)}
    start = time.perf_counter()
    save(state, tmp_path / "big.pt")
    found = load(tmp_path / "big.pt")
    assert len(found) == 1001 and time.perf_counter() - start < 10
