"""Kernels to machine code in this process: the table of addresses, the cache on disk, LLVM's passes and linker.

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
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flambeau.engine.kernel.emit import Emitter
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.runtime.cache import ObjectCache, default_folder, source_stamp
from flambeau.errors import warn_once

_table: dict[str, int] = {}  # kernel key -> address
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
    stored = _stored_name("ir:" + ir)
    code = cache().read(stored)
    if code is None:
        code = object_code(ir)
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
    return str(_optimized(kernel_ir(kernel), _host_machine()))


def assembly(kernel: Kernel) -> str:
    """The assembly of a kernel on this machine, for people."""
    machine = _host_machine()
    return machine.emit_assembly(_optimized(kernel_ir(kernel), machine))


def compile_for(triple: str, cpu: str, features: str, ir: str) -> str:
    """The assembly of a module for another machine, such as `aarch64-unknown-linux-gnu` or `nvptx64-nvidia-cuda`."""
    llvm = _llvm()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2, codemodel="default")
    return machine.emit_assembly(_optimized(ir, machine, triple))


# -- compiling ---------------------------------------------------------------------------------------------------------


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    _hold_lock_over_fork(llvm.ffi.lib._lock)
    return llvm


def _hold_lock_over_fork(lock: Any) -> None:
    """A child must not inherit LLVM's lock from a thread that was compiling and does not exist there."""
    if hasattr(os, "register_at_fork"):
        release = functools.partial(lock.__exit__, None, None, None)
        os.register_at_fork(before=lock.__enter__, after_in_child=release, after_in_parent=release)


def _host_machine() -> Any:
    """A code generator for this machine. Position-independent code, as the linker lays a library out in one piece."""
    llvm = _llvm()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_host_features(), opt=2, reloc="pic", codemodel="small"
    )


@functools.cache
def _host_features() -> str:
    return _llvm().get_host_cpu_features().flatten()


def object_code(ir: str) -> bytes:
    """A module of LLVM IR as object code of this machine."""
    machine = _host_machine()
    return machine.emit_object(_optimized(ir, machine))


def _optimized(ir: str, machine: Any, triple: str = "") -> Any:
    """The module after LLVM's simplification of each function; vectorizing and unrolling are the generators' business.

    The whole -O2 pipeline takes three times as long and gives the same speed.
    """
    llvm = _llvm()
    module = llvm.parse_assembly(ir, llvm.create_context())
    module.triple = triple or machine.triple
    module.data_layout = str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = builder.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


# -- loading -----------------------------------------------------------------------------------------------------------


@functools.cache
def cache() -> ObjectCache:
    """The process's cache of object code."""
    return ObjectCache(default_folder())


@functools.cache
def _build() -> str:
    """What object code depends on besides the kernel: machine, compiler, and the source of the generators."""
    import llvmlite

    llvm = _llvm()
    versions = (llvmlite.__version__, llvm.llvm_version_info, llvm.get_default_triple())
    return repr((llvm.get_host_cpu_name(), _host_features(), vector_bytes(), versions, source_stamp()))


def _stored_name(key: str) -> str:
    return hashlib.sha256(f"{_build()}\n{key}".encode()).hexdigest()


def _load(sources: dict[str, Callable[[], str]]) -> dict[str, int]:
    """Addresses of functions, each from its stored object code or else from the LLVM IR that its source writes."""
    store = cache()
    stored = {name: _stored_name(name) for name in sources}
    codes = {name: store.read(file) for name, file in stored.items()}
    kept = {name: code for name, code in codes.items() if code is not None}
    found: dict[str, int] = {}
    if kept:
        try:
            found = _link(kept.values(), list(kept))
        except RuntimeError as error:  # whole, but not what it should be
            warn_once(f"object code in the kernel cache {store.folder} does not load and is written anew: {error}")
    fresh = {}
    for name, source in sources.items():
        if name not in found:
            fresh[name] = object_code(source())
            store.write(stored[name], fresh[name])
    return found | _link(fresh.values(), list(fresh)) if fresh else found


@functools.cache
def _linker() -> Any:
    linker = _llvm().create_lljit_compiler(_host_machine(), use_jit_link=os.name != "nt")
    linker._owned = True  # not to be torn down at exit, while workers wait inside its code
    return linker


def _link(codes: Iterable[bytes], names: Sequence[str]) -> dict[str, int]:
    """Load object code and give the addresses of the functions `names`."""
    library = _llvm().JITLibraryBuilder()
    for code in codes:
        library.add_object_img(code)
    library.add_current_process()
    for name in names:
        library.export_symbol(name)
    tracker = library.link(_linker(), f"kernels{next(_library_numbers)}")
    found = {name: tracker[name] for name in names}
    tracker.detach()
    return found
