"""Native functions as Python callables, at a tenth of the cost of a call through ctypes.

`native_callable(address)` is a built-in function of five ints: the four words that the native function takes, and
whether to let go of the interpreter's lock meanwhile. It is made the way C extensions make theirs (METH_FASTCALL): a
piece of native code unpacks the ints with the interpreter's own functions. Where the linker cannot find those, ctypes
does it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from flambeau.engine.runtime import jit

_METH_FASTCALL = 0x80

_IR = """
declare i64 @PyLong_AsLongLong(ptr)
declare void @Py_IncRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define internal i64 @word(ptr %args, i64 %nr) {
  %at = getelementptr ptr, ptr %args, i64 %nr
  %object = load ptr, ptr %at
  %value = call i64 @PyLong_AsLongLong(ptr %object)
  ret i64 %value
}

; %self is the address of the function to call, as a Python int. The result is the last argument: something to return.
define ptr @flambeau_fastcall(ptr %self, ptr %args, i64 %count) {
  %target = call i64 @PyLong_AsLongLong(ptr %self)
  %function = inttoptr i64 %target to ptr
  %a = call i64 @word(ptr %args, i64 0)
  %b = call i64 @word(ptr %args, i64 1)
  %c = call i64 @word(ptr %args, i64 2)
  %d = call i64 @word(ptr %args, i64 3)
  %last = getelementptr ptr, ptr %args, i64 4
  %result = load ptr, ptr %last
  %releases = call i64 @PyLong_AsLongLong(ptr %result)
  call void @Py_IncRef(ptr %result)
  %long = icmp ne i64 %releases, 0
  br i1 %long, label %release, label %hold
hold:
  call void %function(i64 %a, i64 %b, i64 %c, i64 %d)
  ret ptr %result
release:
  %thread = call ptr @PyEval_SaveThread()
  call void %function(i64 %a, i64 %b, i64 %c, i64 %d)
  call void @PyEval_RestoreThread(ptr %thread)
  ret ptr %result
}
"""


class _MethodDef(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    ]  # fmt: skip


_kept: list[Any] = []  # what the interpreter points at


def native_callable(address: int) -> Callable[[int, int, int, int, int], Any]:
    """A Python function that calls the native function at `address` with four words."""
    if sys.implementation.name == "cpython":
        try:
            unpack = jit.load(_IR, "flambeau_fastcall")
        except RuntimeError:  # this interpreter does not show its functions
            return _through_ctypes(address)
        definition = _MethodDef(b"native", unpack, _METH_FASTCALL, None)
        _kept.append(definition)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        return make(ctypes.addressof(definition), address, None)
    return _through_ctypes(address)


def _through_ctypes(address: int) -> Callable[[int, int, int, int, int], Any]:
    words = [ctypes.c_int64] * 4
    holding, releasing = ctypes.PYFUNCTYPE(None, *words)(address), ctypes.CFUNCTYPE(None, *words)(address)
    return lambda a, b, c, d, releases: (releasing if releases else holding)(a, b, c, d)
