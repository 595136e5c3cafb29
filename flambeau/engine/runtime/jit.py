"""Kernels to machine code in this process: the table of addresses, the cache on disk, the linker.

`address(kernel)` is what a program calls; `addresses(kernels)` does many at once. Both may be called from any thread:
two threads that want the same kernel at the same moment compile it twice, and both copies are good. Machine code is
never unloaded: workers may be inside it until the process ends.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flambeau.engine.forking import at_fork
from flambeau.engine.kernel.complex_emit import Emitter
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.runtime import codegen
from flambeau.engine.runtime.cache import ObjectCache, default_folder, source_stamp
from flambeau.engine.runtime.cores import get_num_threads
from flambeau.errors import warn_once

_table: dict[str, int] = {}  # kernel key -> address
made: Counter[str] = Counter()  # for people: how many were "stored" on disk, how many are "new"
_WORTH_HELP, _MOST_HELP = 4, 8  # kernels for each thread that compiles; such threads at most
_library_numbers = itertools.count()


def address(kernel: Kernel) -> int:
    """The address of a kernel's machine code, compiled now if it is new."""
    found = _table.get(kernel.key)
    return addresses([kernel])[0] if found is None else found


def addresses(kernels: Sequence[Kernel]) -> list[int]:
    """The addresses of many kernels, the missing ones loaded or compiled."""
    missing = {kernel.key: kernel for kernel in kernels if kernel.key not in _table}
    if missing:
        names = {key: symbol(key) for key in missing}
        loaded = _load({names[key]: functools.partial(kernel_ir, kernel) for key, kernel in missing.items()})
        _table.update({key: loaded[names[key]] for key in missing})
    return [_table[kernel.key] for kernel in kernels]


def load(ir: str, name: str) -> int:
    """Compile a module of LLVM IR and give the address of its function `name`."""
    return functions(ir, [name])[name]


def functions(ir: str, names: Sequence[str]) -> dict[str, int]:
    """Compile a module of LLVM IR and give the addresses of some of its functions."""
    stored = stored_name("ir:" + ir)
    code = cache().read(stored)
    if code is None:
        code = codegen.object_code(ir)
        cache().write(stored, code)
    return _link([code], names)


def symbol(key: str) -> str:
    """The name that a kernel's function has in object code: readable at its front, unique at its end."""
    return re.sub(r"\W+", "_", key)[:40].strip("_") + "_" + hashlib.sha256(key.encode()).hexdigest()[:24]


def kernel_ir(kernel: Kernel) -> str:
    """The LLVM IR of a kernel as its generator writes it."""
    k = Emitter(symbol(kernel.key))
    kernel.emit(k)
    return k.text()


def optimized_ir(kernel: Kernel) -> str:
    """The LLVM IR of a kernel after the passes, for people."""
    return codegen.optimized(kernel_ir(kernel))


def assembly(kernel: Kernel) -> str:
    """The assembly of a kernel on this machine, for people."""
    return codegen.assembly(kernel_ir(kernel))


# -- loading -----------------------------------------------------------------------------------------------------------


@functools.cache
def cache() -> ObjectCache:
    """The process's cache of object code."""
    return ObjectCache(default_folder())


def stored_name(key: str) -> str:
    """The name in the cache: it changes with the key, the machine, the compiler and the source of the generators."""
    depends = f"{codegen.build()}\n{vector_bytes()}\n{source_stamp()}\n{key}"
    return hashlib.sha256(depends.encode()).hexdigest()


def _load(sources: dict[str, Callable[[], str]]) -> dict[str, int]:
    """Addresses of functions, each from its stored object code or else from the LLVM IR that its source writes."""
    store = cache()
    stored = {name: stored_name(name) for name in sources}
    codes = {name: store.read(file) for name, file in stored.items()}
    kept = {name: code for name, code in codes.items() if code is not None}
    found: dict[str, int] = {}
    if kept:
        try:
            found = _link(kept.values(), list(kept))
        except RuntimeError as error:  # whole, but not what it should be
            warn_once(f"object code in the kernel cache {store.folder} does not load and is written anew: {error}")
    fresh = _compiled({name: source for name, source in sources.items() if name not in found})
    made.update(stored=len(found), new=len(fresh))
    for name, code in fresh.items():
        store.write(stored[name], code)
    return found | _link(fresh.values(), list(fresh)) if fresh else found


class _Batch:
    """Sources of LLVM IR that become object code; any number of threads may work on them."""

    def __init__(self, sources: dict[str, Callable[[], str]]) -> None:
        self.waiting = list(reversed(sources.items()))
        self.left = len(sources)
        self.codes: dict[str, bytes] = {}
        self.errors: list[BaseException] = []
        self.lock, self.done = threading.Lock(), threading.Event()

    def work(self) -> None:
        """Compile until nothing is left to begin with."""
        while not self.errors:
            try:
                name, source = self.waiting.pop()
            except IndexError:
                return
            try:
                self.codes[name] = codegen.object_code(source())
            except BaseException as error:
                self.errors.append(error)
            with self.lock:
                self.left -= 1
            if not self.left or self.errors:
                self.done.set()


_batches: list[_Batch] = []  # being worked on
at_fork(in_child=_batches.clear)


def help() -> None:
    """Compile what other threads have begun with: for a thread that would have to wait for it."""
    for batch in list(_batches):
        batch.work()


def _compiled(sources: dict[str, Callable[[], str]]) -> dict[str, bytes]:
    """Object code for the LLVM IR that each source writes. One core is left to a program that goes on meanwhile."""
    if not sources:
        return {}
    batch = _Batch(sources)
    helpers = min(get_num_threads(), len(sources) // _WORTH_HELP, _MOST_HELP) - 1
    if threading.current_thread() is not threading.main_thread():
        helpers = min(helpers, get_num_threads() - 2)
    for nr in range(helpers):
        threading.Thread(target=batch.work, name=f"flambeau-compile-{nr}", daemon=True).start()
    _batches.append(batch)
    try:
        batch.work()
        batch.done.wait()
    finally:
        _batches.remove(batch)
    if batch.errors:
        raise batch.errors[0]
    return {name: batch.codes[name] for name in sources}


@functools.cache
def _linker() -> Any:
    linker = codegen.llvm().create_lljit_compiler(codegen.host_machine(), use_jit_link=os.name != "nt")
    linker._owned = True  # not to be torn down at exit, while workers wait inside its code
    return linker


def _link(codes: Iterable[bytes], names: Sequence[str]) -> dict[str, int]:
    """Load object code and give the addresses of the functions `names`."""
    library = codegen.llvm().JITLibraryBuilder()
    for code in codes:
        library.add_object_img(code)
    library.add_current_process()
    for name in names:
        library.export_symbol(name)
    tracker = library.link(_linker(), f"kernels{next(_library_numbers)}")
    found = {name: tracker[name] for name in names}
    tracker.detach()
    return found
