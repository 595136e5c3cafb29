"""The unpickler behind `load(weights_only=True)`: it builds data and nothing else.

It interprets the opcodes of a pickle itself. A global is looked up in a table, never imported; only the builders in
`builders.py` and what the user allowed are ever called. Work and memory are bounded by the size of the file.
"""

from __future__ import annotations

import pickle
import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from flambeau.serialization.builders import BUILDERS, check_key, encode, type_name
from flambeau.serialization.errors import CheckpointError, TruncatedError, explained
from flambeau.serialization.names import KNOWN
from flambeau.serialization.safe_globals import BLOCKED_MODULES, CONTAINERS, user_globals
from flambeau.serialization.source import Source

_ALLOWED = {".".join(name): found for name, found in (KNOWN | CONTAINERS).items()}
_ALLOWED["_codecs.encode"] = encode
_DICTS = (dict, OrderedDict, Counter)
_OTHER_TYPE = re.compile(r"\w+Storage|q?u?int\d\w*|float\d\w*|bits\w+|complex32")
_FREE_WORK = 1 << 20
_WORK_PER_BYTE = 16
_CORRUPT = (IndexError, KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, struct.error)

_OPCODES: dict[int, Callable[[Any], None]] = {}
PersistentLoad = Callable[[Any], Any]


def _opcode(code: bytes) -> Callable:
    def register(method: Callable) -> Callable:
        _OPCODES[code[0]] = method
        return method

    return register


class _UserError(Exception):
    """Carries what others raised, such as an allowed global of the user's, past the handling of damaged pickles."""


class _Stop(Exception):
    """The pickle has ended."""


class WeightsUnpickler:
    """Builds the object of one pickle; `persistent_load` gives the storages it refers to."""

    def __init__(self, source: Source, persistent_load: PersistentLoad | None = None) -> None:
        self._source = source
        self._persistent_load = persistent_load
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._user = user_globals()
        self._user_ids = {id(found) for found in self._user.values()}
        self._work = _FREE_WORK + _WORK_PER_BYTE * source.size

    def load(self) -> Any:
        """The object; CheckpointError for a pickle that is damaged or names what may not be built."""
        read, opcodes = self._source.read, _OPCODES
        try:
            while True:
                code = read(1)[0]
                handler = opcodes.get(code)
                if handler is None:
                    raise CheckpointError(f"Unsupported operand {code}")
                handler(self)
        except _Stop as stop:
            return stop.args[0]
        except TruncatedError:
            raise
        except RuntimeError as error:
            raise CheckpointError(explained(str(error))) from error.__cause__
        except _UserError as error:
            raise error.args[0] from None
        except _CORRUPT as error:
            reason = f"the pickle is corrupt: {type(error).__name__}: {str(error)[:300]}"
            raise CheckpointError(explained(reason)) from error

    def is_allowed(self, obj: Any) -> bool:
        """Whether the user allowed this class or function."""
        return id(obj) in self._user_ids

    def spend(self, work: int) -> None:
        """Account for work, about a byte of memory each, that a few bytes of the pickle ask for."""
        self._work -= work
        if self._work < 0:
            raise CheckpointError("the pickle asks for far more work and memory than a file of its size may")

    # -- globals and calls -------------------------------------------------------------------------------------

    def _push_global(self, module: str, name: str) -> None:
        if (module, name) in NAME_MAPPING:  # Python 2's names, which protocols below 3 use
            module, name = NAME_MAPPING[module, name]
        module = IMPORT_MAPPING.get(module, module)
        full = f"{module}.{name}"
        if module in BLOCKED_MODULES:
            raise CheckpointError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        found = _ALLOWED.get(full)
        if found is None:
            found = self._user.get(full)
        if found is None:
            if module == "torch" and _OTHER_TYPE.fullmatch(name):
                raise CheckpointError(f"the checkpoint holds data of the type {full}, which Flambeau does not have")
            full = full.removeprefix("builtins.")
            raise CheckpointError(
                f"Unsupported global: GLOBAL {full} was not an allowed global by default. "
                f"Please use `torch.serialization.add_safe_globals([{full}])` or the "
                f"`torch.serialization.safe_globals([{full}])` context manager to allowlist this global "
                "if you trust this class/function."
            )
        self._stack.append(found)

    def _call(self, func: Any, args: Any) -> Any:
        if type(args) is not tuple:
            raise CheckpointError(f"arguments must be a tuple, got {type(args).__name__}")
        builder = BUILDERS.get(id(func))
        if builder is not None:
            return builder(self, *args)
        return self._trusted(func, args)

    def _trusted(self, func: Any, args: tuple) -> Any:
        try:
            return func(*args)
        except Exception as error:
            raise _UserError(error) from error

    @_opcode(pickle.GLOBAL)
    def _global(self) -> None:
        self._push_global(self._source.line(), self._source.line())

    @_opcode(pickle.STACK_GLOBAL)
    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("STACK_GLOBAL requires str")
        self._push_global(module, name)

    @_opcode(pickle.REDUCE)
    def _reduce(self) -> None:
        args, func = self._stack.pop(), self._stack[-1]
        if id(func) not in BUILDERS and not self.is_allowed(func):
            raise CheckpointError(f"Trying to call reduce for unrecognized function {type_name(func)}")
        self._stack[-1] = self._call(func, args)

    @_opcode(pickle.NEWOBJ)
    def _newobj(self) -> None:
        args, cls = self._stack.pop(), self._stack.pop()
        if id(cls) in BUILDERS:
            self._stack.append(self._call(cls, args))
        elif self.is_allowed(cls) and isinstance(cls, type):
            self._stack.append(self._trusted(cls.__new__, (cls, *args)))
        else:
            raise CheckpointError(
                "Can only create new object for nn.Parameter or classes allowlisted "
                f"via `add_safe_globals` but got {type_name(cls)}"
            )

    @_opcode(pickle.BUILD)
    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is OrderedDict:
            if type(state) is not dict or not all(type(name) is str for name in state):
                raise CheckpointError("the pickle is corrupt: the attributes of an OrderedDict must be a dict of names")
            target.__dict__.update(state)
        elif self.is_allowed(type(target)):
            self._trusted(_set_state, (target, state))
        else:
            raise CheckpointError(
                "Can only build Tensor, Parameter, OrderedDict or types allowlisted "
                f"via `add_safe_globals`, but got {type(target)}"
            )

    @_opcode(pickle.BINPERSID)
    def _persistent(self) -> None:
        pid = self._stack.pop()
        if type(pid) is not tuple or not pid or self._persistent_load is None:
            raise CheckpointError(f"persistent_load id must be tuple or int, but got {type(pid)}")
        if type(pid[0]) not in (str, bytes) or pid[0] not in ("storage", b"storage"):
            raise CheckpointError(f"Only persistent_load of storage is allowed, but got {type(pid[0])}")
        try:
            self._stack.append(self._persistent_load(pid))
        except Exception as error:  # of the container, a device that is not there, or the user's map_location
            raise _UserError(error) from error

    # -- containers --------------------------------------------------------------------------------------------

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    @_opcode(pickle.MARK)
    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    @_opcode(pickle.APPEND)
    def _append(self) -> None:
        item = self._stack.pop()
        self._target("append to", list).append(item)

    @_opcode(pickle.APPENDS)
    def _appends(self) -> None:
        items = self._pop_mark()
        self._target("extend", list).extend(items)

    def _target(self, action: str, kind: type) -> Any:
        target = self._stack[-1]
        if type(target) is not kind:
            raise CheckpointError(f"Can only {action} {kind.__name__}s, but got {type(target)}")
        return target

    def _set_items(self, opcode: str, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in _DICTS:
            raise CheckpointError(
                f"Can only {opcode} for dict, collections.OrderedDict, collections.Counter, but got {type(target)}"
            )
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(self, key)
            target[key] = value

    @_opcode(pickle.SETITEM)
    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items("SETITEM", [key, value])

    @_opcode(pickle.SETITEMS)
    def _setitems(self) -> None:
        self._set_items("SETITEMS", self._pop_mark())

    @_opcode(pickle.ADDITEMS)
    def _additems(self) -> None:
        items = self._pop_mark()
        target = self._target("add to", set)
        for item in items:
            check_key(self, item)
            target.add(item)

    @_opcode(pickle.FROZENSET)
    def _frozenset(self) -> None:
        items = self._pop_mark()
        for item in items:
            check_key(self, item)
        self._stack.append(frozenset(items))

    @_opcode(pickle.TUPLE)
    def _tuple(self) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    @_opcode(pickle.TUPLE1)
    def _tuple1(self) -> None:
        self._stack[-1:] = [(self._stack[-1],)]

    @_opcode(pickle.TUPLE2)
    def _tuple2(self) -> None:
        self._stack[-2:] = [(self._stack[-2], self._stack[-1])]

    @_opcode(pickle.TUPLE3)
    def _tuple3(self) -> None:
        self._stack[-3:] = [(self._stack[-3], self._stack[-2], self._stack[-1])]

    # -- the memo and the stack --------------------------------------------------------------------------------

    @_opcode(pickle.MEMOIZE)
    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    @_opcode(pickle.POP)
    def _pop(self) -> None:
        self._stack.pop() if self._stack else self._pop_mark()

    @_opcode(pickle.POP_MARK)
    def _pop_to_mark(self) -> None:
        self._pop_mark()

    @_opcode(pickle.PROTO)
    def _proto(self) -> None:
        protocol = self._source.read(1)[0]
        if protocol > pickle.HIGHEST_PROTOCOL:
            raise CheckpointError(f"unsupported pickle protocol: {protocol}")

    @_opcode(pickle.FRAME)
    def _frame(self) -> None:
        self._source.read(8)  # a hint for buffering

    @_opcode(pickle.STOP)
    def _stop(self) -> None:
        raise _Stop(self._stack.pop())


def allowed_names() -> set[str]:
    """The full names that a pickle may use."""
    return set(_ALLOWED) | set(user_globals())


def _set_state(target: Any, state: Any) -> None:
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        target.__dict__.update(attributes)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def _constant(code: bytes, make: Callable[[], Any]) -> None:
    _OPCODES[code[0]] = lambda self: self._stack.append(make())


def _number(code: bytes, layout: str) -> None:
    size = struct.calcsize(layout)
    _OPCODES[code[0]] = lambda self: self._stack.append(struct.unpack(layout, self._source.read(size))[0])


def _counted(code: bytes, layout: str, make: Callable[[bytes], Any]) -> None:
    """An opcode followed by a length and as many bytes."""
    size = struct.calcsize(layout)

    def run(self: WeightsUnpickler) -> None:
        (n,) = struct.unpack(layout, self._source.read(size))
        self._stack.append(make(self._source.read(n)))

    _OPCODES[code[0]] = run


def _memo(get: bytes, put: bytes, layout: str) -> None:
    size = struct.calcsize(layout)

    def index(self: WeightsUnpickler) -> int:
        return struct.unpack(layout, self._source.read(size))[0]

    def put_memo(self: WeightsUnpickler) -> None:
        self._memo[index(self)] = self._stack[-1]

    _OPCODES[get[0]] = lambda self: self._stack.append(self._memo[index(self)])
    _OPCODES[put[0]] = put_memo


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


for _code, _make in (
    (pickle.NONE, lambda: None), (pickle.NEWTRUE, lambda: True), (pickle.NEWFALSE, lambda: False),
    (pickle.EMPTY_TUPLE, tuple), (pickle.EMPTY_LIST, list), (pickle.EMPTY_DICT, dict), (pickle.EMPTY_SET, set),
):  # fmt: skip
    _constant(_code, _make)
for _code, _layout in ((pickle.BININT, "<i"), (pickle.BININT1, "<B"), (pickle.BININT2, "<H"), (pickle.BINFLOAT, ">d")):
    _number(_code, _layout)
for _code, _layout, _convert in (
    (pickle.SHORT_BINUNICODE, "<B", _text), (pickle.BINUNICODE, "<I", _text), (pickle.BINUNICODE8, "<Q", _text),
    (pickle.SHORT_BINBYTES, "<B", bytes), (pickle.BINBYTES, "<I", bytes), (pickle.BINBYTES8, "<Q", bytes),
    (pickle.BYTEARRAY8, "<Q", bytearray), (pickle.LONG1, "<B", pickle.decode_long),
    (pickle.LONG4, "<i", pickle.decode_long), (pickle.SHORT_BINSTRING, "<B", _text),
):  # fmt: skip
    _counted(_code, _layout, _convert)
_memo(pickle.BINGET, pickle.BINPUT, "<B")
_memo(pickle.LONG_BINGET, pickle.LONG_BINPUT, "<I")
