"""The emitter: writes one kernel as LLVM IR text, with Python as the macro language.

    k = Emitter("scale")
    x, y, n = k.pointer(0), k.pointer(1), k.integer(2)        # the words of the kernel's argument block
    with k.loop(n, step=16) as i:
        k.store(k.load(x, i, "<16 x float>") * 2.0, y, i)

Values (`Val`) are typed SSA names; Python's operators on them emit instructions, and a Python number takes the type of
the other operand. Index arithmetic on two Python ints stays Python, so constant shapes fold away by themselves.
A kernel is a function `void (ptr args, i64 begin, i64 end)`: `args` is a block of 8-byte words (pointers and integers),
and the tasks from `begin` to `end` are this thread's share. Floating-point arithmetic is emitted as written: without
fast-math flags or contraction, so that an op's result does not depend on what it is fused with. `k.fma` contracts on
purpose.

This file knows types and instructions, no op and no machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Union

from flambeau.engine.kernel.types import BITS, FLOATS, element, is_float, lanes, like, literal, mangled, vector

Index = Union[int, "Val"]
WORD = 8  # bytes of a word of the argument block
LINE = 64  # bytes of a cache line


class Val:
    """A typed value of the kernel being emitted."""

    __slots__ = ("k", "type", "name")

    def __init__(self, k: Emitter, type: str, name: str) -> None:
        self.k, self.type, self.name = k, type, name

    def __repr__(self) -> str:
        return f"{self.type} {self.name}"

    def __add__(self, other: Any) -> Val:
        return self.k.add(self, other)

    def __radd__(self, other: Any) -> Val:
        return self.k.add(other, self)

    def __sub__(self, other: Any) -> Val:
        return self.k.sub(self, other)

    def __rsub__(self, other: Any) -> Val:
        return self.k.sub(other, self)

    def __mul__(self, other: Any) -> Val:
        return self.k.mul(self, other)

    def __rmul__(self, other: Any) -> Val:
        return self.k.mul(other, self)

    def __truediv__(self, other: Any) -> Val:
        return self.k.div(self, other)

    def __rtruediv__(self, other: Any) -> Val:
        return self.k.div(other, self)

    def __floordiv__(self, other: Any) -> Val:
        return self.k.div(self, other)

    def __mod__(self, other: Any) -> Val:
        return self.k.rem(self, other)

    def __neg__(self) -> Val:
        return self.k.neg(self)

    def __and__(self, other: Any) -> Val:
        return self.k.bits("and", self, other)

    def __or__(self, other: Any) -> Val:
        return self.k.bits("or", self, other)

    def __xor__(self, other: Any) -> Val:
        return self.k.bits("xor", self, other)

    def __lshift__(self, other: Any) -> Val:
        return self.k.bits("shl", self, other)

    def __rshift__(self, other: Any) -> Val:
        return self.k.bits("ashr", self, other)

    def __lt__(self, other: Any) -> Val:
        return self.k.compare("lt", self, other)

    def __le__(self, other: Any) -> Val:
        return self.k.compare("le", self, other)

    def __gt__(self, other: Any) -> Val:
        return self.k.compare("gt", self, other)

    def __ge__(self, other: Any) -> Val:
        return self.k.compare("ge", self, other)

    def equals(self, other: Any) -> Val:
        """Lane by lane equality (`==` keeps Python's meaning)."""
        return self.k.compare("eq", self, other)

    def differs(self, other: Any) -> Val:
        return self.k.compare("ne", self, other)


class Loop:
    """A loop being emitted: the induction variable, the carried values inside, and after it their results."""

    def __init__(self, i: Val, carried: list[Val], once: bool = False) -> None:
        self.i, self.once = i, once
        self.carried = carried
        self.results = carried
        self.following: Sequence[Val] | None = None
        self.until: Val | None = None

    def carry(self, *values: Val, until: Val | None = None) -> None:
        """Say what the carried values are in the next iteration; once, at the end of the body.

        Where the scalar condition `until` holds, there is none.
        """
        assert len(values) == len(self.carried), "a loop carries as many values as it began with"
        self.following, self.until = values, until
        if self.once:
            self.results = list(values)


class Emitter:
    """Emits one kernel. `text()` gives the module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.block = "entry"
        self.entry: list[str] = []  # stack slots, before everything else
        self.declared: dict[str, str] = {}
        self.counter = 0
        self.begin = Val(self, "i64", "%begin")
        self.end = Val(self, "i64", "%end")
        self._words: dict[tuple[str, int], Val] = {}
        self._streams = False

    def text(self) -> str:
        """The LLVM IR of the module."""
        fence = ["  fence seq_cst"] if self._streams else []  # other threads may read it next
        body = "\n".join([*self.entry, *self.lines, *fence, "  ret void"])
        declarations = "\n".join([*self.declared.values(), "!0 = !{i32 1}"])
        return (
            f"define void @{self.name}(ptr noalias nocapture readonly %args, i64 %begin, i64 %end) #0 {{\nentry:\n"
            f"{body}\n}}\n{declarations}\nattributes #0 = {{ nounwind }}\n"
        )

    # -- names, constants ----------------------------------------------------------------------------------------

    def fresh(self, hint: str = "v") -> str:
        self.counter += 1
        return f"%{hint}{self.counter}"

    def emit(self, type: str, instruction: str) -> Val:
        """An instruction with a result."""
        name = self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return Val(self, type, name)

    def const(self, type: str, number: Any) -> Val:
        """A constant, the same in every lane."""
        scalar = element(type)
        text = literal(scalar, number)
        return Val(self, type, text if scalar == type else f"splat ({scalar} {text})")

    def ramp(self, type: str, start: int = 0, step: int = 1) -> Val:
        """The vector start, start + step, start + 2 * step ..."""
        scalar = element(type)
        parts = [f"{scalar} {literal(scalar, start + step * i)}" for i in range(lanes(type))]
        return Val(self, type, "<" + ", ".join(parts) + ">") if lanes(type) > 1 else self.const(type, start)

    def val(self, x: Any, type: str) -> Val:
        """`x` as a value of `type`: a number becomes a constant, a scalar is spread over the lanes."""
        if not isinstance(x, Val):
            return self.const(type, x)
        if x.type == type:
            return x
        if x.type == element(type):
            return self.splat(x, lanes(type))
        raise TypeError(f"{x.type} where {type} is wanted: cast it")

    def _pair(self, a: Any, b: Any) -> tuple[Val, Val]:
        if not isinstance(a, Val):
            return self.const(b.type, a), b
        if not isinstance(b, Val):
            return a, self.const(a.type, b)
        if a.type != b.type:
            return self.val(a, b.type) if lanes(a.type) < lanes(b.type) else a, (
                self.val(b, a.type) if lanes(b.type) < lanes(a.type) else b)  # fmt: skip
        return a, b

    # -- arithmetic ----------------------------------------------------------------------------------------------

    def _arith(self, name: str, a: Any, b: Any) -> Val:
        a, b = self._pair(a, b)
        if a.type != b.type:
            raise TypeError(f"{name} of {a.type} and {b.type}")
        if is_float(a.type):
            return self.emit(a.type, f"f{name} {a.type} {a.name}, {b.name}")
        return self.emit(a.type, f"{name} {a.type} {a.name}, {b.name}")  # integers wrap around, as elements do

    def add(self, a: Any, b: Any) -> Any:
        if _zero(a) and isinstance(b, Val) and not is_float(b.type):
            return b
        if _zero(b) and isinstance(a, Val) and not is_float(a.type):
            return a
        return a + b if _plain(a, b) else self._arith("add", a, b)

    def sub(self, a: Any, b: Any) -> Any:
        if _zero(b) and isinstance(a, Val) and not is_float(a.type):
            return a
        return a - b if _plain(a, b) else self._arith("sub", a, b)

    def mul(self, a: Any, b: Any) -> Any:
        if _plain(a, b):
            return a * b
        for x, other in ((a, b), (b, a)):
            if type(x) is int and isinstance(other, Val) and not is_float(other.type):
                if x == 1:
                    return other
                if x == 0:
                    return 0
        return self._arith("mul", a, b)

    def div(self, a: Any, b: Any) -> Any:
        """Division; of integers, towards zero (indices are never negative: use it as floor division there)."""
        if _plain(a, b):
            return a // b
        if type(b) is int and b == 1 and not is_float(a.type):
            return a
        a, b = self._pair(a, b)
        return self.emit(a.type, f"{'fdiv' if is_float(a.type) else 'sdiv'} {a.type} {a.name}, {b.name}")

    def rem(self, a: Any, b: Any) -> Any:
        """The remainder that goes with `div`."""
        if _plain(a, b):
            return a % b
        if type(b) is int and b == 1 and not is_float(a.type):
            return 0
        a, b = self._pair(a, b)
        return self.emit(a.type, f"{'frem' if is_float(a.type) else 'srem'} {a.type} {a.name}, {b.name}")

    def neg(self, a: Any) -> Any:
        if not isinstance(a, Val):
            return -a
        return self.emit(a.type, f"fneg {a.type} {a.name}") if is_float(a.type) else self.sub(self.const(a.type, 0), a)

    def bits(self, name: str, a: Any, b: Any) -> Val:
        """`and`, `or`, `xor`, `shl`, `ashr`, `lshr` of integers."""
        a, b = self._pair(a, b)
        return self.emit(a.type, f"{name} {a.type} {a.name}, {b.name}")

    def compare(self, name: str, a: Any, b: Any, unsigned: bool = False) -> Val:
        """A comparison, as `i1` lanes; with NaN only `ne` is true."""
        a, b = self._pair(a, b)
        if is_float(a.type):
            instruction = "fcmp " + ("une" if name == "ne" else "o" + name)
        else:
            sign = "" if name in ("eq", "ne") else "u" if unsigned else "s"
            instruction = f"icmp {sign}{name}"
        return self.emit(like("i1", a.type), f"{instruction} {a.type} {a.name}, {b.name}")

    def unordered(self, a: Val, b: Any) -> Val:
        """Whether one of two floats is NaN."""
        a, b = self._pair(a, b)
        return self.emit(like("i1", a.type), f"fcmp uno {a.type} {a.name}, {b.name}")

    def select(self, condition: Val, a: Any, b: Any) -> Val:
        """`a` where the condition holds, else `b`."""
        a, b = self._pair(a, b)
        if lanes(condition.type) < lanes(a.type):
            condition = self.splat(condition, lanes(a.type))
        return self.emit(a.type, f"select {condition.type} {condition.name}, {a.type} {a.name}, {b.type} {b.name}")

    def minimum(self, a: Index, b: Index) -> Any:
        """The smaller of two indices."""
        return min(a, b) if _plain(a, b) else self.select(self.compare("lt", a, b), a, b)  # type: ignore[type-var]

    def maximum(self, a: Index, b: Index) -> Any:
        """The larger of two indices."""
        return max(a, b) if _plain(a, b) else self.select(self.compare("gt", a, b), a, b)  # type: ignore[type-var]

    def fma(self, a: Any, b: Any, c: Val) -> Val:
        """a * b + c, rounded once."""
        a, b = self.val(a, c.type), self.val(b, c.type)
        return self.intrinsic("fma", c.type, a, b, c)

    def intrinsic(self, name: str, type: str, *args: Val, overload: str | None = None) -> Val:
        """`llvm.NAME` with a result of `type`, overloaded on `overload` (default: `type`)."""
        full = f"llvm.{name}.{mangled(overload or type)}"
        kinds = ", ".join(a.type for a in args)
        self.declared[full] = f"declare {type} @{full}({kinds})"
        return self.emit(type, f"call {type} @{full}({', '.join(f'{a.type} {a.name}' for a in args)})")

    # -- types and lanes -----------------------------------------------------------------------------------------

    def cast(self, x: Val, scalar: str, signed: bool = True) -> Val:
        """`x` as lanes of another scalar type. Floats become integers by truncation, saturating (NaN: 0)."""
        source, target = element(x.type), like(scalar, x.type)
        if source == scalar:
            return x
        if is_float(x.type) and scalar in FLOATS:
            if {source, scalar} == {"half", "bfloat"}:
                return self.cast(self.cast(x, "float"), scalar)
            if scalar == "bfloat":
                return self._as_bfloat(self.cast(x, "float"))
            name = "fpext" if BITS[scalar] > BITS[source] else "fptrunc"
        elif is_float(x.type):
            kind = "fptosi" if signed else "fptoui"
            return self._saturated(kind, target, x)
        elif scalar in FLOATS:
            name = "sitofp" if signed and source != "i1" else "uitofp"
        elif BITS[scalar] > BITS[source]:
            name = "sext" if signed and source != "i1" else "zext"
        else:
            name = "trunc"
        return self.emit(target, f"{name} {x.type} {x.name} to {target}")

    def _as_bfloat(self, x: Val) -> Val:
        """Floats rounded to nearest even: machines without the instruction call a function, and it loses denormals."""
        bits = self.bitcast(x, "i32")
        rounded = bits + 0x7FFF + self.bits("and", self.bits("lshr", bits, 16), 1)
        upper = self.bits("lshr", self.select(self.unordered(x, x), self.bits("or", bits, 0x400000), rounded), 16)
        return self.bitcast(self.cast(upper, "i16"), "bfloat")

    def _saturated(self, kind: str, target: str, x: Val) -> Val:
        full = f"llvm.{kind}.sat.{mangled(target)}.{mangled(x.type)}"
        self.declared[full] = f"declare {target} @{full}({x.type})"
        return self.emit(target, f"call {target} @{full}({x.type} {x.name})")

    def bitcast(self, x: Val, scalar: str) -> Val:
        """The same bits as lanes of another type of the same size."""
        target = like(scalar, x.type)
        return x if target == x.type else self.emit(target, f"bitcast {x.type} {x.name} to {target}")

    def splat(self, x: Any, width: int) -> Val:
        """A scalar in every lane of a vector."""
        if width == 1:
            return x
        type = vector(x.type, width)
        if not x.name.startswith("%"):
            return Val(self, type, f"splat ({x.type} {x.name})")
        one = self.emit(type, f"insertelement {type} poison, {x.type} {x.name}, i64 0")
        return self.shuffle(one, one, [0] * width)

    def shuffle(self, a: Val, b: Val, picks: Sequence[int]) -> Val:
        """The lanes `picks` of a and b laid end to end."""
        type = vector(element(a.type), len(picks))
        mask = ", ".join(f"i32 {p}" for p in picks)
        return self.emit(type, f"shufflevector {a.type} {a.name}, {b.type} {b.name}, <{len(picks)} x i32> <{mask}>")

    def lane(self, x: Val, index: Index) -> Val:
        if lanes(x.type) == 1:
            return x
        at = f"i64 {index if isinstance(index, int) else index.name}"
        return self.emit(element(x.type), f"extractelement {x.type} {x.name}, {at}")

    def joined(self, parts: Sequence[Val]) -> Val:
        """Scalars as the lanes of a vector."""
        type = vector(parts[0].type, len(parts))
        x = Val(self, type, "poison")
        for nr, part in enumerate(parts):
            x = self.emit(type, f"insertelement {type} {x.name}, {part.type} {part.name}, i64 {nr}")
        return x

    def fold(self, x: Val, combine: Any) -> Val:
        """All lanes combined in a fixed tree: the upper half onto the lower, until one is left."""
        while (width := lanes(x.type)) > 1:
            low = self.shuffle(x, x, range(width // 2))
            high = self.shuffle(x, x, range(width // 2, width))
            if width == 2:
                low, high = self.lane(x, 0), self.lane(x, 1)
            x = combine(low, high)
        return x

    # -- memory --------------------------------------------------------------------------------------------------

    def pointer(self, word: int) -> Val:
        """A word of the argument block as a pointer."""
        return self._word("ptr", word)

    def integer(self, word: int) -> Val:
        """A word of the argument block as an i64."""
        return self._word("i64", word)

    def _word(self, type: str, word: int) -> Val:
        found = self._words.get((type, word))
        if found is None:
            at, found = self.fresh("arg"), Val(self, type, self.fresh("word"))
            self.entry.append(f"  {at} = getelementptr i64, ptr %args, i64 {word}")
            self.entry.append(f"  {found.name} = load {type}, ptr {at}, align {WORD}")
            self._words[type, word] = found
        return found

    def stack(self, scalar: str, count: int, align: int = 64) -> Val:
        """Memory for `count` elements that lives as long as the call."""
        name = self.fresh("slot")
        self.entry.append(f"  {name} = alloca [{count} x {scalar}], align {align}")
        return Val(self, "ptr", name)

    def at(self, base: Val, index: Index, scalar: str) -> Val:
        """The address of element `index`."""
        if type(index) is int and index == 0:
            return base
        where = index.name if isinstance(index, Val) else str(index)
        return self.emit("ptr", f"getelementptr inbounds {_memory(scalar)}, ptr {base.name}, i64 {where}")

    def address(self, pointer: Val) -> Val:
        """A pointer as an i64."""
        return self.emit("i64", f"ptrtoint ptr {pointer.name} to i64")

    def load(self, base: Val, index: Index, type: str, align: int | None = None) -> Val:
        """Element `index` (lanes: and those after it). `i1` is kept in memory as a byte."""
        scalar, memory = element(type), like(_memory(element(type)), type)
        where = self.at(base, index, scalar)
        loaded = self.emit(memory, f"load {memory}, ptr {where.name}, align {align or BITS[element(memory)] // 8}")
        return self._from_memory(loaded, scalar)

    def store(self, x: Val, base: Val, index: Index, align: int | None = None, stream: bool = False) -> None:
        """Write lanes. `stream`: past the caches, to a multiple of their bytes (or of a line, if they are more)."""
        where = self.at(base, index, element(x.type))
        x = self._to_memory(x)
        align = align or BITS[element(x.type)] // 8
        if stream:
            align, self._streams = min(align * lanes(x.type), LINE), True
        hint = ", !nontemporal !0" if stream else ""
        self.lines.append(f"  store {x.type} {x.name}, ptr {where.name}, align {align}{hint}")

    def _from_memory(self, x: Val, scalar: str) -> Val:
        if scalar == "i1":
            return self.compare("ne", x, 0)
        return self.bitcast(x, scalar) if scalar == "bfloat" else x

    def _to_memory(self, x: Val) -> Val:
        """What memory holds: of bools bytes; of bfloat16 the bits, as machines that have no registers for it would
        take lanes that are loaded under a mask through float, by calls."""
        if element(x.type) == "i1":
            return self.emit(like("i8", x.type), f"zext {x.type} {x.name} to {like('i8', x.type)}")
        return self.bitcast(x, "i16") if element(x.type) == "bfloat" else x

    def prefetch(self, base: Val, index: Index, scalar: str) -> None:
        """Have the line of element `index` brought near, wherever it is: also beyond the memory that is ours."""
        at = index.name if isinstance(index, Val) else str(index)
        where = self.emit("ptr", f"getelementptr {_memory(scalar)}, ptr {base.name}, i64 {at}")
        self.declared["llvm.prefetch.p0"] = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"
        self.lines.append(f"  call void @llvm.prefetch.p0(ptr {where.name}, i32 0, i32 3, i32 1)")

    def mask(self, count: Index, width: int) -> Val:
        """The first `count` of `width` lanes."""
        ramp = self.ramp(vector("i64", width))
        return self.compare("lt", ramp, self.val(count, ramp.type) if isinstance(count, Val) else count)

    def masked_load(self, base: Val, index: Index, type: str, mask: Val, other: Any = 0) -> Val:
        """Lanes of memory where the mask holds, `other` elsewhere; nothing else is touched."""
        scalar, memory = element(type), like(_memory(element(type)), type)
        where, rest = self.at(base, index, scalar), self._to_memory(self.val(other, type))
        full = f"llvm.masked.load.{mangled(memory)}.p0"
        align = BITS[element(memory)] // 8
        self.declared[full] = f"declare {memory} @{full}(ptr, {mask.type}, {memory})"
        loaded = self.emit(
            memory,
            f"call {memory} @{full}(ptr align {align} {where.name}, {mask.type} {mask.name}, {memory} {rest.name})",
        )
        return self._from_memory(loaded, scalar)

    def masked_store(self, x: Val, base: Val, index: Index, mask: Val) -> None:
        """Write the lanes where the mask holds."""
        where = self.at(base, index, element(x.type))
        x = self._to_memory(x)
        mask = mask if is_float(x.type) else self._opaque(mask)
        full = f"llvm.masked.store.{mangled(x.type)}.p0"
        align = BITS[element(x.type)] // 8
        self.declared[full] = f"declare void @{full}({x.type}, ptr, {mask.type})"
        self.lines.append(
            f"  call void @{full}({x.type} {x.name}, ptr align {align} {where.name}, {mask.type} {mask.name})"
        )

    def _opaque(self, mask: Val) -> Val:
        """The same mask, but no constant to LLVM, whose X86 backend writes too many bytes where it knows that one lane
        is stored of integers that were truncated: it forgets about the truncation."""
        always = self.compare("ne", self.end, 0x5A5A5A5A5A5A5A5A)
        return self.bits("and", mask, self.val(always, mask.type))

    def gather(self, base: Val, indices: Val, scalar: str, mask: Val | None = None) -> Val:
        """One element a lane, each at its own index."""
        width, memory = lanes(indices.type), _memory(scalar)
        if width == 1:
            return self.load(base, indices, scalar)
        type, pointers = vector(memory, width), vector("ptr", width)
        where = self.emit(pointers, f"getelementptr inbounds {memory}, ptr {base.name}, {indices.type} {indices.name}")
        mask = mask or self.const(vector("i1", width), 1)
        rest = self.const(type, 0)
        full = f"llvm.masked.gather.{mangled(type)}.{mangled(pointers)}"
        align = BITS[memory] // 8
        self.declared[full] = f"declare {type} @{full}({pointers}, {mask.type}, {type})"
        found = self.emit(
            type,
            f"call {type} @{full}({pointers} align {align} {where.name}, {mask.type} {mask.name}, {type} {rest.name})",
        )
        return self._from_memory(found, scalar)

    def scatter(self, x: Val, base: Val, indices: Val, mask: Val | None = None) -> None:
        """Store each lane at its own index."""
        x = self._to_memory(x)
        scalar, width = element(x.type), lanes(x.type)
        pointers = vector("ptr", width)
        where = self.emit(pointers, f"getelementptr inbounds {scalar}, ptr {base.name}, {indices.type} {indices.name}")
        mask = mask or self.const(vector("i1", width), 1)
        full = f"llvm.masked.scatter.{mangled(x.type)}.{mangled(pointers)}"
        align = BITS[scalar] // 8
        self.declared[full] = f"declare void @{full}({x.type}, {pointers}, {mask.type})"
        self.lines.append(
            f"  call void @{full}({x.type} {x.name}, {pointers} align {align} {where.name}, {mask.type} {mask.name})"
        )

    # -- control -------------------------------------------------------------------------------------------------

    def label(self, name: str) -> None:
        self.lines.append(f"{name[1:]}:")
        self.block = name[1:]

    @contextmanager
    def loop(
        self, stop: Index, start: Index = 0, step: int = 1, carried: Sequence[Val] = (), unroll: bool = True
    ) -> Iterator[Any]:
        """for (i = start; i < stop; i += step). Yields `i`, or with `carried` the Loop that carries them.

        A loop that is known to have one iteration is emitted without a branch.
        """
        if isinstance(start, int) and isinstance(stop, int) and 0 < stop - start <= step:
            once = Loop(self.const("i64", start), list(carried), once=True)
            yield once if carried else once.i
            return
        head, body, exit = self.fresh("head"), self.fresh("body"), self.fresh("exit")
        before = self.block
        self.lines.append(f"  br label {head}")
        self.label(head)
        i = Val(self, "i64", self.fresh("i"))
        inside = [Val(self, v.type, self.fresh("c")) for v in carried]
        at = len(self.lines)
        self.lines.extend([""] * (1 + len(inside)))  # phis, written once the following values are known
        stop_name = stop.name if isinstance(stop, Val) else str(stop)
        more = self.emit("i1", f"icmp slt i64 {i.name}, {stop_name}")
        self.lines.append(f"  br i1 {more.name}, label {body}, label {exit}")
        self.label(body)
        loop = Loop(i, inside)
        yield loop if carried else i
        following = self.emit("i64", f"add nsw i64 {i.name}, {step}")
        if loop.until is not None:
            following = self.select(loop.until, self.val(stop, "i64"), following)
        self.lines.append(f"  br label {head}")
        latch = "%" + self.block
        start_name = start.name if isinstance(start, Val) else str(start)
        self.lines[at] = f"  {i.name} = phi i64 [ {start_name}, %{before} ], [ {following.name}, {latch} ]"
        if carried:
            assert loop.following is not None, "the loop's body must say what it carries"
            for nr, (inner, first, after) in enumerate(zip(inside, carried, loop.following)):
                assert after.type == inner.type, f"carried {inner.type}, given {after.type}"
                self.lines[at + 1 + nr] = (
                    f"  {inner.name} = phi {inner.type} [ {first.name}, %{before} ], [ {after.name}, {latch} ]"
                )
        self.label(exit)

    def tasks(self) -> Any:
        """The loop over this thread's tasks."""
        return self.loop(self.end, start=self.begin)

    @contextmanager
    def when(self, condition: Val) -> Iterator[None]:
        """Run the body only where a scalar condition holds."""
        inside, after = self.fresh("then"), self.fresh("after")
        self.lines.append(f"  br i1 {condition.name}, label {inside}, label {after}")
        self.label(inside)
        yield
        self.lines.append(f"  br label {after}")
        self.label(after)


def _plain(a: Any, b: Any) -> bool:
    return not isinstance(a, Val) and not isinstance(b, Val)


def _zero(x: Any) -> bool:
    return type(x) is int and x == 0


def _memory(scalar: str) -> str:
    """The type that memory holds."""
    return {"i1": "i8", "bfloat": "i16"}.get(scalar, scalar)
