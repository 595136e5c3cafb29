"""LLVM IR text to object code, through llvmlite: passes and code generation, for this machine or another.

llvmlite lets one thread at a time into LLVM. The two calls that take long need no such order, as each compilation has a
context of its own: they are made past llvmlite's lock, so that kernels compile side by side and never hold up a thread
that wants to load one.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

from flambeau.engine.forking import at_fork

_AT_ONCE = 8
_PASSES = ("instruction_combine", "new_gvn", "loop_rotate", "instruction_combine", "simplify_cfg")


class _Turns:
    """Counts the compilations that are going on; a fork waits for them, so that a child finds LLVM at rest."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._places = threading.Semaphore(_AT_ONCE)
        self._forking = threading.Lock()
        self.starting = threading.Lock()  # while llvmlite is imported

    def __enter__(self) -> None:
        self._places.acquire()

    def __exit__(self, *error: object) -> None:
        self._places.release()

    def stop(self) -> None:
        self._forking.acquire()
        self.starting.acquire()
        for _ in range(_AT_ONCE):
            self._places.acquire()
        if _binding is not None:
            _binding.ffi.lib._lock.__enter__()  # held by this thread: a child can give it back

    def resume(self) -> None:
        if _binding is not None:
            _binding.ffi.lib._lock.__exit__(None, None, None)
        for _ in range(_AT_ONCE):
            self._places.release()
        self.starting.release()
        self._forking.release()

    def resume_in_child(self) -> None:
        if _binding is not None:
            _binding.ffi.lib._lock.__exit__(None, None, None)
        self.begin()


_turns = _Turns()
_binding: Any = None
at_fork(_turns.stop, _turns.resume, _turns.resume_in_child)


def llvm() -> Any:
    """llvmlite, ready to compile for this machine. Imported here, as programs that compile nothing need no wait."""
    global _binding
    if _binding is None:
        with _turns.starting:
            if _binding is None:
                import llvmlite.binding as binding

                binding.initialize_native_target()
                binding.initialize_native_asmprinter()
                _binding = binding
    return _binding


@functools.cache
def build() -> str:
    """What object code depends on besides the IR: processor, system and versions."""
    import llvmlite

    binding = llvm()
    versions = (llvmlite.__version__, binding.llvm_version_info, binding.get_default_triple())
    return repr((binding.get_host_cpu_name(), host_features(), versions))


@functools.cache
def host_features() -> str:
    """The instruction sets of this processor, in LLVM's notation."""
    return llvm().get_host_cpu_features().flatten()


def host_machine() -> Any:
    """A code generator for this machine. Position-independent code, as the linker lays a library out in one piece."""
    return (
        llvm()
        .Target.from_default_triple()
        .create_target_machine(
            cpu=llvm().get_host_cpu_name(), features=host_features(), opt=2, reloc="pic", codemodel="small"
        )
    )


def object_code(ir: str) -> bytes:
    """A module as object code of this machine."""
    with _turns:
        machine = host_machine()
        return _emitted(machine, _simplified(ir, machine))


def optimized(ir: str) -> str:
    """A module after the passes, for people."""
    with _turns:
        return str(_simplified(ir, host_machine()))


def assembly(ir: str) -> str:
    """The assembly of a module on this machine, for people."""
    with _turns:
        machine = host_machine()
        return machine.emit_assembly(_simplified(ir, machine))


def compile_for(triple: str, cpu: str, features: str, ir: str) -> str:
    """The assembly of a module for another machine, such as `aarch64-unknown-linux-gnu` or `nvptx64-nvidia-cuda`."""
    llvm().initialize_all_targets()
    llvm().initialize_all_asmprinters()
    with _turns:
        machine = (
            llvm()
            .Target.from_triple(triple)
            .create_target_machine(cpu=cpu, features=features, opt=2, codemodel="default")
        )
        return machine.emit_assembly(_simplified(ir, machine, triple))


def _simplified(ir: str, machine: Any, triple: str = "") -> Any:
    """The module after simplification; unrolling, vectorizing and hoisting are the generators' business.

    LLVM's own pipeline for functions takes more than twice as long and gives the same speed.
    """
    binding = llvm()
    module = binding.parse_assembly(ir, binding.create_context())
    module.triple = triple or machine.triple
    module.data_layout = str(machine.target_data)
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    passes = binding.create_new_function_pass_manager()
    for name in _PASSES:
        getattr(passes, f"add_{name}_pass")()
    run = _past_the_lock(binding.ffi.lib.LLVMPY_RunNewFunctionPassManager)
    for function in module.functions:
        if not function.is_declaration:
            run(passes, function, builder)
    return module


def _emitted(machine: Any, module: Any) -> bytes:
    """What `machine.emit_object(module)` gives."""
    ffi = llvm().ffi
    with ffi.OutputString() as error:
        buffer = _past_the_lock(ffi.lib.LLVMPY_TargetMachineEmitToMemory)(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _past_the_lock(function: Any) -> Any:
    return getattr(function, "_cfn", function)
