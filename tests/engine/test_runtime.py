"""Kernels become machine code once a process, and once a machine through the cache on disk; whatever is wrong with that
cache costs time only."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import platform
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from flambeau import errors
from flambeau.engine.kernel.emit import Emitter
from flambeau.engine.kernel.target import cache_sizes, vector_bytes, vector_registers
from flambeau.engine.plan import Kernel
from flambeau.engine.runtime import cache as cache_module
from flambeau.engine.runtime import codegen, jit, native
from flambeau.engine.runtime.cache import ObjectCache


def adding(number: int) -> Kernel:
    """y = x + number, for the tasks given."""

    def emit(k: Emitter) -> None:
        x, y = k.pointer(0), k.pointer(1)
        with k.tasks() as i:
            k.store(k.load(x, i, "i64") + number, y, i)

    return Kernel(f"test: add {number}", emit)


def call(function: int, n: int = 5) -> list[int]:
    x, y = np.arange(n), np.zeros(n, np.int64)
    words = np.array([x.ctypes.data, y.ctypes.data])
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(function)(words.ctypes.data, 0, n)
    return y.tolist()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectCache:
    """A process that has compiled nothing, with an empty cache, in which nothing was warned about."""
    store = ObjectCache(tmp_path / "kernels")
    monkeypatch.setattr(jit, "_table", {})
    monkeypatch.setattr(jit, "cache", lambda: store)
    monkeypatch.setattr(errors, "_said", set())
    return store


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(ir: str) -> bytes:
        raise AssertionError("compiled, though the cache has it")

    monkeypatch.setattr(codegen, "object_code", refuse)


def only_file(store: ObjectCache) -> Path:
    (file,) = store.folder.iterdir()
    return file


def test_a_kernel_is_compiled_once_a_process(fresh: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jit.address(adding(3))
    assert call(first) == [3, 4, 5, 6, 7]
    forbid_compiling(monkeypatch)
    assert jit.address(adding(3)) == first
    assert jit.addresses([adding(3), adding(3)]) == [first, first]


def test_many_kernels_at_once(fresh: ObjectCache) -> None:
    found = jit.addresses([adding(n) for n in (1, 2, 1, 100)])
    assert [call(f)[0] for f in found] == [1, 2, 1, 100]
    assert len(list(fresh.folder.iterdir())) == 3


def test_another_process_takes_it_from_disk(fresh: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    jit.addresses([adding(n) for n in range(5)])
    monkeypatch.setattr(jit, "_table", {})
    forbid_compiling(monkeypatch)
    assert [call(f, 1) for f in jit.addresses([adding(n) for n in range(5)])] == [[n] for n in range(5)]


def test_the_cache_belongs_to_the_user(fresh: ObjectCache) -> None:
    jit.address(adding(1))
    assert fresh.folder.stat().st_mode & 0o777 == 0o700
    assert only_file(fresh).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "garbage"])
def test_a_damaged_file_is_replaced(fresh: ObjectCache, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    jit.addresses([adding(1), adding(2)])
    for file in fresh.folder.iterdir():
        content = bytearray(file.read_bytes())
        if damage == "flip":
            content[-20] ^= 1
        garbage = b"\x7fELF" + b"no object code" * 20
        file.write_bytes({
            "flip": bytes(content), "truncate": bytes(content[:-10]), "empty": b"", "foreign": b"#!/bin/sh\n",
            "garbage": b"flambeau1" + hashlib.sha256(garbage).digest() + garbage,
        }[damage])  # fmt: skip
    monkeypatch.setattr(jit, "_table", {})
    with pytest.warns(UserWarning, match="kernel cache") as seen:
        assert [call(f, 1) for f in jit.addresses([adding(1), adding(2)])] == [[1], [2]]
    assert len(seen) == 1
    monkeypatch.setattr(jit, "_table", {})
    forbid_compiling(monkeypatch)
    assert call(jit.address(adding(2)), 1) == [2]  # it was written anew


def test_a_folder_that_cannot_be_made_warns_once(fresh: ObjectCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    fresh.folder = tmp_path / "file" / "kernels"
    with pytest.warns(UserWarning, match="cannot read the kernel cache|cannot write the kernel cache") as seen:
        assert [call(f, 1) for f in jit.addresses([adding(1), adding(2)])] == [[1], [2]]
    assert len(seen) == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions as on Unix")
def test_a_folder_that_others_can_write_to_is_not_trusted(fresh: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    jit.address(adding(1))
    fresh.folder.chmod(0o777)
    store = ObjectCache(fresh.folder)
    monkeypatch.setattr(jit, "cache", lambda: store)
    monkeypatch.setattr(jit, "_table", {})
    with pytest.warns(UserWarning, match="others can write"):
        assert call(jit.address(adding(1)), 1) == [1]


@pytest.mark.parametrize("off", ["", "0"])
def test_the_cache_can_be_turned_off(fresh: ObjectCache, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    monkeypatch.setenv("FLAMBEAU_CACHE_DIR", off)
    assert cache_module.default_folder() is None
    fresh.folder = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(jit.address(adding(1)), 1) == [1]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAMBEAU_CACHE_DIR", str(tmp_path))
    assert cache_module.default_folder() == tmp_path
    monkeypatch.delenv("FLAMBEAU_CACHE_DIR")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_module.default_folder() == tmp_path / "flambeau" / "kernels"
        monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
        assert cache_module.default_folder() is None


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    store = ObjectCache(tmp_path / "kernels")
    for nr in range(5):
        store.write(f"k{nr}", bytes(1000))
        os.utime(store.folder / f"k{nr}", (nr, nr))
    store.read("k1")  # used today
    store.limit = 2500
    store.prune()
    assert sorted(p.name for p in store.folder.iterdir()) == ["k1", "k4"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    store = ObjectCache(tmp_path / "kernels")
    store.write("k", b"code")
    for name, age in (("old.part", 2 * 86400), ("new.part", 0)):
        (store.folder / name).write_bytes(b"half")
        os.utime(store.folder / name, (time.time() - age,) * 2)
    store.prune()
    assert sorted(p.name for p in store.folder.iterdir()) == ["k", "new.part"]


PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
import test_runtime as t
assert [t.call(f, 1) for f in t.jit.addresses([t.adding(n) for n in range(12)])] == [[n] for n in range(12)]
"""


def test_processes_share_the_cache(tmp_path: Path) -> None:
    env = {**os.environ, "FLAMBEAU_CACHE_DIR": str(tmp_path / "kernels"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", PROCESS, str(Path(__file__).parent)]
    running = [subprocess.Popen(command, env=env) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    names = [p.name for p in (tmp_path / "kernels").iterdir()]
    assert len(names) == 12 and not any(name.endswith(".part") for name in names)


def test_source_and_machine_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = jit.stored_name("kernel")
    for owner, what in ((codegen, "build"), (jit, "source_stamp"), (jit, "vector_bytes")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, what, lambda: "another")
            assert jit.stored_name("kernel") != before
    assert jit.stored_name("kernel") == before


def test_a_generator_that_fails_leaves_nothing_behind(fresh: ObjectCache) -> None:
    def broken(k: Emitter) -> None:
        raise ValueError("no such kernel")

    with pytest.raises(ValueError, match="no such kernel"):
        jit.address(Kernel("test: broken", broken))
    assert call(jit.address(adding(4)), 1) == [4]


def test_many_kernels_compile_side_by_side(fresh: ObjectCache) -> None:
    kernels = [adding(n) for n in range(40)]
    assert [call(f, 1) for f in jit.addresses(kernels)] == [[n] for n in range(40)]

    def broken(k: Emitter) -> None:
        raise ValueError("no such kernel")

    with pytest.raises(ValueError, match="no such kernel"):
        jit.addresses([*[adding(n) for n in range(50, 60)], Kernel("test: broken", broken)])


def test_threads_compile_at_once(fresh: ObjectCache) -> None:
    results: dict[int, list[int]] = {}

    def work(nr: int) -> None:
        results[nr] = [call(jit.address(adding(n)), 1)[0] for n in range(10)]

    workers = [threading.Thread(target=work, args=(nr,)) for nr in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {nr: list(range(10)) for nr in range(3)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_a_thread_compiles(fresh: ObjectCache) -> None:
    stop, numbers = threading.Event(), itertools.count(1000)

    def work() -> None:
        while not stop.is_set():
            jit.address(adding(next(numbers)))

    busy = threading.Thread(target=work)
    busy.start()
    try:
        for nr in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if call(jit.address(adding(500 + nr)), 1) == [500 + nr] else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()


FIRST = """
import os, threading
from flambeau.engine.runtime import codegen
starting = [threading.Thread(target=codegen.llvm) for _ in range(4)]
for thread in starting:
    thread.start()
for _ in range(3):
    child = os.fork()
    if child == 0:
        codegen.object_code("define void @f() { ret void }")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_threads_start_the_compiler() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", FIRST], env=env, timeout=60).returncode == 0


def test_code_can_be_shown() -> None:
    kernel = adding(7)
    assert "define void @" + jit.symbol(kernel.key) in jit.optimized_ir(kernel)
    assert jit.symbol(kernel.key) + ":" in jit.assembly(kernel)


def test_kernels_compile_for_machines_that_are_not_here() -> None:
    ir = jit.kernel_ir(adding(7))
    assert "ldr" in codegen.compile_for("aarch64-unknown-linux-gnu", "neoverse-n1", "", ir)
    assert ".target sm_90" in codegen.compile_for("nvptx64-nvidia-cuda", "sm_90", "", ir)


@pytest.mark.parametrize(("system", "machine", "triple"), [
    ("linux", "x86_64", "x86_64-unknown-linux-gnu"), ("linux", "aarch64", "aarch64-unknown-linux-gnu"),
    ("darwin", "arm64", "arm64-apple-darwin"), ("win32", "AMD64", "x86_64-pc-windows-msvc"),
    ("linux", "riscv64", "riscv64-unknown-linux-gnu"), ("freebsd14", "x86_64", "x86_64-unknown-freebsd"),
])  # fmt: skip
def test_the_runtime_compiles_for_every_system(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, triple: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert "flambeau_worker" in codegen.compile_for(triple, "generic" if "64" in machine else "", "", native.ir())


def test_constants_and_library_calls_are_linked(fresh: ObjectCache) -> None:
    def emit(k: Emitter) -> None:
        x, y = k.pointer(0), k.pointer(1)
        with k.tasks() as i:
            k.store(k.load(x, i, "double") % 3.0 + k.const("double", 0.1), y, i)  # fmod, and a constant in memory

    x, y = np.array([7.5, -2.0, 1e300]), np.zeros(3)
    words = np.array([x.ctypes.data, y.ctypes.data])
    function = jit.address(Kernel("test: fmod", emit))
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(function)(words.ctypes.data, 0, 3)
    np.testing.assert_array_equal(y, np.fmod(x, 3.0) + 0.1)


def test_the_machine() -> None:
    assert vector_bytes() in (16, 32, 64) and vector_registers() in (16, 32)
    l1, l2 = cache_sizes()
    assert 8 << 10 <= l1 <= l2


@pytest.mark.parametrize(("chosen", "width"), [("16", 16), ("32", 32), ("64", 64)])
def test_another_width_can_be_chosen(monkeypatch: pytest.MonkeyPatch, chosen: str, width: int) -> None:
    monkeypatch.setenv("FLAMBEAU_VECTOR_BYTES", chosen)
    assert vector_bytes.__wrapped__() == width
    monkeypatch.setenv("FLAMBEAU_VECTOR_BYTES", "17")
    with pytest.raises(ValueError, match="FLAMBEAU_VECTOR_BYTES"):
        vector_bytes.__wrapped__()
