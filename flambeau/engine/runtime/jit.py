"""LLVM IR text to machine code in this process, through llvmlite."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm


@functools.cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )


def optimized(ir: str, level: int = 2) -> Any:
    """The module of `ir` after LLVM's passes; the kernels are vectorised already, so its vectorisers stay off."""
    machine = _machine()
    module = llvm.parse_assembly(ir)
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


_engines: list[Any] = []


def load(ir: str, name: str) -> int:
    """Compile a module and give the address of its function `name`."""
    module = optimized(ir)
    engine = llvm.create_mcjit_compiler(module, _machine())
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(name)
