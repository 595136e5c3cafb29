"""The op record and the registry: an op is described once, here is the form of the description.

    sqrt = op("sqrt", ref=np.sqrt, meta=unary(FLOAT), vjp=lambda g, y, _x: (g / (y + y),), samples=positive)

`op` makes an `Op`, which is callable with tensors (and numbers, and None for an absent operand) and keyword
parameters. `view` makes an op that only re-reads memory. `public` lists a function under the names users call:
functions, methods, in-place methods and `out=` variants all come from that list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from flambeau.autograd.opnode import Keeps, Vjp
from flambeau.engine.execute import constant, thread
from flambeau.ops.apply import apply, apply_view, in_place, with_out
from flambeau.ops.matched import direct
from flambeau.shape import Ints

Layout = tuple[Ints, Ints, int]


@constant
@dataclass(eq=False)
class Op:
    """One operation.

    Attributes:
        name: the registry's name; `backward_name` is the node's (a string, or a function of (inputs, params)).
        ref: the NumPy reference, `ref(*arrays, **params) -> array` (or a tuple of them if `multiple`).
        meta: `meta(*inputs, **params) -> Meta` (or a tuple): shape and dtype without data; raises PyTorch's errors.
        vjp: the derivative, see `autograd.opnode`; None where the result is constant almost everywhere.
        samples: `samples(t)` yields calls for the tests, see `ops.samples`.
        layout: for views: `layout(shape, strides, offset, **params) -> (shape, strides, offset)`.
        kept_outputs: which outputs a derivative that names them keeps (None: all); the rest may be overwritten.
        smooth: whether the tests may check the derivative by finite differences.
        multi_view: for views: one of several that a function returns, which must not be written in place.
        narrows: a product, which `amp.autocast` computes in its narrow dtype.
        widens: a loss or the like, which `amp.autocast` computes in float32.
        eager: runs at its call: its shape depends on data. Noticed by itself where a shape rule looks at data.
        hazard: operands whose data the reference may refuse, see `ops.hazards`.
        picks: reads a few elements of its first operand: if NumPy sees that memory, it runs at its call rather than
            later on a copy of all of it.
        lower: how the compiler computes it, see `engine.schedule.lowering`; None: by the reference, on the host.
    """

    name: str
    ref: Callable[..., Any]
    meta: Callable[..., Any] | None = None
    vjp: Vjp | None = None
    samples: Callable[..., Iterable[Any]] | None = None
    multiple: bool = False
    layout: Callable[..., Layout] | None = None
    backward_name: Any = None
    smooth: bool = True
    multi_view: bool = False
    kept_outputs: tuple[int, ...] | None = None
    narrows: bool = False
    widens: bool = False
    lower: Any = None
    eager: bool = False
    hazard: Any = None
    picks: bool = False
    keeps: tuple = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.backward_name is None:
            self.backward_name = camel(self.name) + "Backward0"
        rules = self.vjp if isinstance(self.vjp, tuple) else (self.vjp,)
        self.keeps = tuple(Keeps(rule) if rule is not None else None for rule in rules)

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        into = thread.recorder
        if into is not None:
            entry = into.cursor.hot
            if entry is not None and entry.op is self and entry.call is not None:
                outputs = entry.call(into, inputs, params)
                if outputs is not None:
                    return outputs
        if self.layout is not None:
            return apply_view(self, inputs[0], params)
        return apply(self, inputs, params)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def camel(name: str) -> str:
    """`log_softmax` as `LogSoftmax`, `log1p` as `Log1P`."""
    return name.title().replace("_", "")


ops: dict[str, Op] = {}
names: dict[str, dict[str, Callable]] = {"torch": {}, "Tensor": {}, "F": {}, "linalg": {}, "fft": {}, "special": {}}


def op(name: str, **fields: Any) -> Op:
    """Make and register an op record; names are unique."""
    if name in ops:
        raise ValueError(f"op {name!r} is described twice")
    ops[name] = Op(name, **fields)
    return ops[name]


def view(name: str, layout: Callable[..., Layout], vjp: Vjp, **fields: Any) -> Op:
    """Make and register an op whose result shares the memory of its input."""
    return op(name, ref=_no_reference, layout=layout, vjp=vjp, **fields)


def _no_reference(*_: Any, **__: Any) -> Any:
    raise AssertionError("a view has no reference: it only re-reads memory")


# Where the functions of a namespace are found by name.
_HOMES = {"torch": "flambeau", "F": "flambeau.nn.functional", "linalg": "flambeau.linalg", "fft": "flambeau.fft",
          "special": "flambeau.special"}  # fmt: skip


def give_homes() -> None:
    """Let every public function be found by module and name, as pickle needs; the first name found is its home."""
    homed: set[int] = set()
    for space, home in _HOMES.items():
        for name, function in names[space].items():
            if isinstance(function, FunctionType) and id(function) not in homed:
                homed.add(id(function))
                function.__module__, function.__name__, function.__qualname__ = home, name, name


def public(
    where: str = "torch Tensor", *, name: str | None = None, aliases: tuple[str, ...] = (), inplace: bool = False,
    out: bool = False, one_op: bool = False,
) -> Callable[[Callable], Callable]:  # fmt: skip
    """List a function under its public names.

    Args:
        where: namespaces, of "torch", "Tensor", "F", "linalg", "fft", "special". A Tensor method gets the tensor first.
        inplace: also make the method `name_`, which overwrites its tensor with the result.
        out: the torch-level function takes `out=`.
        one_op: its outcome is that of one op, see `matched.direct`.
    """

    def register(function: Callable) -> Callable:
        spellings = (name or function.__name__.rstrip("_"), *aliases)
        inspect.unwrap(function).__qualname__ = spellings[0]  # the name in Python's errors of wrong arguments
        exported = with_out(function) if out else function
        method = function
        if one_op:
            method, exported = direct(function), direct(exported)
        for spelling in spellings:
            for space in where.split():
                if spelling in names[space]:
                    raise ValueError(f"{space}.{spelling} is defined twice")
                names[space][spelling] = method if space == "Tensor" else exported
            if inplace:
                names["Tensor"][spelling + "_"] = in_place(function, spelling + "_")
        return exported

    return register
