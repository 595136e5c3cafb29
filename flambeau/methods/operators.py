"""Python's operators: which function each is, its reflected form, and its in-place form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.methods.member import Members
from flambeau.ops.matched import direct
from flambeau.ops.op import names
from flambeau.tensors import Tensor, from_array

members = Members()

# operator: (function, reflected operator or None); the in-place form is the function's in-place method
_BINARY = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__floordiv__": "floor_divide",
    "__mod__": "remainder", "__pow__": "pow", "__and__": "bitwise_and", "__or__": "bitwise_or",
    "__xor__": "bitwise_xor", "__lshift__": "bitwise_left_shift", "__rshift__": "bitwise_right_shift",
    "__matmul__": "matmul", "__eq__": "eq", "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt",
    "__ge__": "ge", "__div__": "div",
}  # fmt: skip
_COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
_NUMBERS = frozenset((bool, int, float, complex))
_UNARY = {"__neg__": "neg", "__abs__": "abs"}


def _operand(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    return x


def _known(x: Any) -> bool:
    return isinstance(x, (Tensor, bool, int, float, complex, np.generic))


def _of_tensors(function: Callable) -> Callable:
    """`function`, leaving other operands than tensors to Python's own error."""

    def checked(a: Any, b: Any) -> Any:
        return function(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else NotImplemented

    return checked


def _forward(function: Callable, one_op: bool = False) -> Callable:
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, Tensor) and type(other) not in _NUMBERS:
            if isinstance(other, np.ndarray):
                other = from_array(other)
            elif not _known(other):
                return NotImplemented
            else:
                other = _operand(other)
        return function(self, other)

    return direct(method) if one_op else method


def _reflected(function: Callable, one_op: bool) -> Callable:
    def method(self: Tensor, other: Any) -> Any:
        if type(other) in _NUMBERS:
            return function(other, self)
        if isinstance(other, np.ndarray):
            other = from_array(other)
        elif not _known(other):
            return NotImplemented
        return function(_operand(other), self)

    return direct(method) if one_op else method


for _operator, _name in _BINARY.items():
    if _name not in names["torch"]:
        continue
    _function = names["Tensor"].get(_name) or names["torch"][_name]  # those of Tensor have no `out=`
    _one_op = getattr(_function, "one_op", False)
    if _operator == "__matmul__":
        _function = _of_tensors(_function)
    members[_operator] = _forward(_function, _one_op)
    if _operator not in _COMPARISONS:
        members["__r" + _operator[2:]] = _reflected(_function, _one_op)
        if _name + "_" in names["Tensor"]:
            members["__i" + _operator[2:]] = _forward(names["Tensor"][_name + "_"])
for _operator, _name in _UNARY.items():
    if _name in names["torch"]:
        members[_operator] = names["torch"][_name]


@members
def __invert__(self: Tensor) -> Tensor:
    if self.dtype.category > dtypes.INTEGER:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return names["torch"]["bitwise_not"](self)


@members
def __pos__(self: Tensor) -> Tensor:
    return self
