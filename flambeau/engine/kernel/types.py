"""The types of kernels as LLVM writes them (`i1`, `float`, `<16 x float>` ...), and numbers as constants of a type.

`cfloat` and `cdouble` are no types of LLVM's: lanes of complex numbers, which `complex_emit` keeps as pairs.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

FLOATS = ("half", "bfloat", "float", "double")
BITS = {
    "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "bfloat": 16, "float": 32, "double": 64, "ptr": 64,
}  # fmt: skip
PARTS = {"cfloat": "float", "cdouble": "double"}  # of complex numbers, the type of real and imaginary part


def lanes(type: str) -> int:
    """The number of lanes of a vector type; 1 for a scalar."""
    return int(type[1 : type.index("x")]) if type[0] == "<" else 1


def element(type: str) -> str:
    """The type of one lane."""
    return type[type.index("x") + 2 : -1] if type[0] == "<" else type


def vector(type: str, width: int) -> str:
    """The vector of `width` lanes of a scalar type; width 1 is the scalar itself."""
    return type if width == 1 else f"<{width} x {type}>"


def like(type: str, other: str) -> str:
    """The scalar type `type` with as many lanes as `other` has."""
    return vector(type, lanes(other))


def is_float(type: str) -> bool:
    return element(type) in FLOATS


def is_complex(type: str) -> bool:
    return element(type) in PARTS


def literal(scalar: str, number: Any) -> str:
    """A Python number as a constant of a scalar type."""
    if scalar == "i1":
        return "true" if number else "false"
    if scalar[0] == "i":
        bits = BITS[scalar]
        wrapped = int(number) & ((1 << bits) - 1)
        return str(wrapped - (1 << bits) if wrapped >> (bits - 1) else wrapped)
    if scalar == "ptr":
        return "null"
    if scalar == "half":
        return "0xH" + format(struct.unpack("<H", np.float16(number).tobytes())[0], "04X")
    if scalar == "bfloat":
        bits32 = struct.unpack("<I", struct.pack("<f", float(np.float32(number))))[0]
        rounded = (bits32 + 0x7FFF + ((bits32 >> 16) & 1)) >> 16 if number == number else 0x7FC0
        return "0xR" + format(rounded & 0xFFFF, "04X")
    with np.errstate(over="ignore"):
        wide = float(np.float32(number)) if scalar == "float" else float(number)
    return "0x" + format(struct.unpack("<Q", struct.pack("<d", wide))[0], "016X")


def mangled(type: str) -> str:
    """A type as it stands in the name of an overloaded intrinsic."""
    scalar = element(type)
    short = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}.get(scalar, scalar)
    return short if scalar == type else f"v{lanes(type)}{short}"
