"""The emitter with lanes of complex numbers, which LLVM has not: a `Complex` is a pair of values, real and imaginary.

    x = k.load(p, i, "<16 x cfloat>")           # 32 floats, taken apart
    k.store(x * 1j, p, i)                       # and put together again
    size = k.intrinsic("sqrt", x.re.type, x.re * x.re + x.im * x.im)

What moves, chooses, adds and multiplies takes complex lanes as any others, so that loops need not know what their
elements are. Instructions that have no meaning for them raise `Unsupported`. Functions are in `complex_math`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau.engine.kernel import emit
from flambeau.engine.kernel.emit import Index, Loop, Val
from flambeau.engine.kernel.types import PARTS, element, is_complex, lanes, like, vector
from flambeau.engine.schedule.lowering import Unsupported


class Complex(Val):
    """Lanes of complex numbers."""

    __slots__ = ("re", "im")

    def __init__(self, re: Val, im: Val) -> None:
        kind = next(name for name, part in PARTS.items() if part == element(re.type))
        self.k, self.type, self.re, self.im = re.k, like(kind, re.type), re, im

    def __repr__(self) -> str:
        return f"{self.type} ({self.re.name}, {self.im.name})"

    @property
    def name(self) -> str:  # type: ignore[override]
        raise Unsupported("this instruction on complex numbers")


def part(type: str) -> str:
    """The type of the real parts of complex lanes."""
    return like(PARTS[element(type)], type)


class Emitter(emit.Emitter):
    """`emit.Emitter`, and complex lanes."""

    # -- constants, arithmetic -----------------------------------------------------------------------------------

    def const(self, type: str, number: Any) -> Val:
        if not is_complex(type):
            return super().const(type, number)
        number, real = complex(number), part(type)
        return Complex(super().const(real, number.real), super().const(real, number.imag))

    def both(self, a: Any, b: Any) -> tuple[Complex, Complex]:
        """Operands of which one at least is complex, alike."""
        a, b = self._pair(a, b)
        if not (isinstance(a, Complex) and isinstance(b, Complex)):
            raise TypeError(f"{a.type} beside {b.type}: cast it")
        return a, b

    def add(self, a: Any, b: Any) -> Any:
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().add(a, b)
        a, b = self.both(a, b)
        return Complex(a.re + b.re, a.im + b.im)

    def sub(self, a: Any, b: Any) -> Any:
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().sub(a, b)
        a, b = self.both(a, b)
        return Complex(a.re - b.re, a.im - b.im)

    def mul(self, a: Any, b: Any) -> Any:
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().mul(a, b)
        a, b = self.both(a, b)
        return Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)

    def div(self, a: Any, b: Any) -> Any:
        """The quotient, by Smith's method: scaled by the larger part of the divisor, so that nothing overflows."""
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().div(a, b)
        a, b = self.both(a, b)
        size = [self.intrinsic("fabs", x.type, x) for x in (b.re, b.im)]
        wide = self.compare("ge", *size)
        large, small = self.select(wide, b.re, b.im), self.select(wide, b.im, b.re)
        ratio = small / large
        scale = 1.0 / (large + small * ratio)
        # of an imaginary divisor both numerators are turned by a quarter
        p, q = self.select(wide, a.re, a.im), self.select(wide, a.im, a.re)
        re, cross = (p + q * ratio) * scale, p * ratio
        im = self.select(wide, q - cross, cross - q) * scale
        none = self.bits("and", size[0].equals(0.0), size[1].equals(0.0))
        return Complex(self.select(none, a.re / size[0], re), self.select(none, a.im / size[0], im))

    def fma(self, a: Any, b: Any, c: Val) -> Val:
        """a * b + c, each part of it by two operations that round once."""
        if not isinstance(c, Complex):
            return super().fma(a, b, c)
        a, b = self.val(a, c.type), self.val(b, c.type)
        re, im = super().fma(a.re, b.re, c.re), super().fma(a.re, b.im, c.im)
        return Complex(super().fma(-a.im, b.im, re), super().fma(a.im, b.re, im))

    def neg(self, a: Any) -> Any:
        return Complex(-a.re, -a.im) if isinstance(a, Complex) else super().neg(a)

    def compare(self, name: str, a: Any, b: Any, unsigned: bool = False) -> Val:
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().compare(name, a, b, unsigned)
        if name not in ("eq", "ne"):
            raise Unsupported("an order of complex numbers")
        a, b = self.both(a, b)
        re, im = super().compare(name, a.re, b.re), super().compare(name, a.im, b.im)
        return self.bits("and" if name == "eq" else "or", re, im)

    def select(self, condition: Val, a: Any, b: Any) -> Val:
        if a.__class__ is not Complex and b.__class__ is not Complex:
            return super().select(condition, a, b)
        a, b = self.both(a, b)
        return Complex(super().select(condition, a.re, b.re), super().select(condition, a.im, b.im))

    # -- types and lanes -----------------------------------------------------------------------------------------

    def cast(self, x: Val, scalar: str, signed: bool = True) -> Val:
        """Lanes of another scalar type: real ones get imaginary parts of 0, complex ones keep theirs."""
        if scalar in PARTS:
            if isinstance(x, Complex):
                return Complex(super().cast(x.re, PARTS[scalar]), super().cast(x.im, PARTS[scalar]))
            real = super().cast(x, PARTS[scalar], signed)
            return Complex(real, super().const(real.type, 0.0))
        return super().cast(x, scalar, signed)

    def splat(self, x: Any, width: int) -> Val:
        if isinstance(x, Complex):
            return Complex(super().splat(x.re, width), super().splat(x.im, width))
        return super().splat(x, width)

    def shuffle(self, a: Val, b: Val, picks: Sequence[int]) -> Val:
        if isinstance(a, Complex) and isinstance(b, Complex):
            return Complex(super().shuffle(a.re, b.re, picks), super().shuffle(a.im, b.im, picks))
        return super().shuffle(a, b, picks)

    def lane(self, x: Val, index: Index) -> Val:
        if isinstance(x, Complex):
            return Complex(super().lane(x.re, index), super().lane(x.im, index))
        return super().lane(x, index)

    def _apart(self, x: Val) -> Complex:
        """Complex numbers from their parts as memory has them, in turns."""
        if lanes(x.type) == 2:
            return Complex(self.lane(x, 0), self.lane(x, 1))
        count = lanes(x.type)
        return Complex(self.shuffle(x, x, range(0, count, 2)), self.shuffle(x, x, range(1, count, 2)))

    def _together(self, x: Complex) -> Val:
        """Parts in turns, as memory has them."""
        width = lanes(x.type)
        if width > 1:
            return self.shuffle(x.re, x.im, [at for nr in range(width) for at in (nr, width + nr)])
        type = vector(x.re.type, 2)
        one = self.emit(type, f"insertelement {type} poison, {x.re.type} {x.re.name}, i64 0")
        return self.emit(type, f"insertelement {type} {one.name}, {x.im.type} {x.im.name}, i64 1")

    def _twice(self, mask: Val) -> Val:
        """A mask of complex lanes as one of their parts in turns."""
        if lanes(mask.type) == 1:
            return self.splat(mask, 2)
        return self.shuffle(mask, mask, [nr for nr in range(lanes(mask.type)) for _ in "ri"])

    # -- memory --------------------------------------------------------------------------------------------------

    def stack(self, scalar: str, count: int, align: int = 64) -> Val:
        return super().stack(PARTS.get(scalar, scalar), count * 2 if scalar in PARTS else count, align)

    def at(self, base: Val, index: Index, scalar: str) -> Val:
        if scalar in PARTS:
            return super().at(base, self.mul(index, 2), PARTS[scalar])
        return super().at(base, index, scalar)

    def prefetch(self, base: Val, index: Index, scalar: str) -> None:
        if scalar in PARTS:
            index, scalar = self.mul(index, 2), PARTS[scalar]
        super().prefetch(base, index, scalar)

    def load(self, base: Val, index: Index, type: str, align: int | None = None) -> Val:
        if not is_complex(type):
            return super().load(base, index, type, align)
        return self._apart(super().load(self.at(base, index, element(type)), 0, _in_turns(type), align))

    def store(self, x: Val, base: Val, index: Index, align: int | None = None, stream: bool = False) -> None:
        if isinstance(x, Complex):
            base, index, x = self.at(base, index, element(x.type)), 0, self._together(x)
        super().store(x, base, index, align, stream)

    def masked_load(self, base: Val, index: Index, type: str, mask: Val, other: Any = 0) -> Val:
        if not is_complex(type):
            return super().masked_load(base, index, type, mask, other)
        where, rest = self.at(base, index, element(type)), self.val(other, type)
        assert isinstance(rest, Complex)
        found = super().masked_load(where, 0, _in_turns(type), self._twice(mask), self._together(rest))
        return self._apart(found)

    def masked_store(self, x: Val, base: Val, index: Index, mask: Val) -> None:
        if isinstance(x, Complex):
            base, index, mask, x = self.at(base, index, element(x.type)), 0, self._twice(mask), self._together(x)
        super().masked_store(x, base, index, mask)

    def gather(self, base: Val, indices: Val, scalar: str, mask: Val | None = None) -> Val:
        if scalar not in PARTS:
            return super().gather(base, indices, scalar, mask)
        at, real = indices * 2, PARTS[scalar]
        return Complex(super().gather(base, at, real, mask), super().gather(base, at + 1, real, mask))

    def scatter(self, x: Val, base: Val, indices: Val, mask: Val | None = None) -> None:
        if not isinstance(x, Complex):
            super().scatter(x, base, indices, mask)
            return
        at = indices * 2
        super().scatter(x.re, base, at, mask)
        super().scatter(x.im, base, at + 1, mask)

    # -- control -------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, stop: Index, start: Index = 0, step: int = 1, carried: Sequence[Val] = (), unroll: bool = True
    ) -> Iterator[Any]:
        if not any(isinstance(x, Complex) for x in carried):
            with super().loop(stop, start, step, carried, unroll) as loop:
                yield loop
            return
        with super().loop(stop, start, step, _parts(carried), unroll) as inner:
            loop = Loop(inner.i, _joined(inner.carried, carried), inner.once)
            yield loop
            assert loop.following is not None, "the loop's body must say what it carries"
            inner.carry(*_parts(loop.following))


def _in_turns(type: str) -> str:
    """The type of complex lanes as memory has them."""
    return vector(PARTS[element(type)], 2 * lanes(type))


def _parts(values: Sequence[Val]) -> list[Val]:
    """Values with complex ones as two."""
    return [p for x in values for p in ((x.re, x.im) if isinstance(x, Complex) else (x,))]


def _joined(parts: Sequence[Val], form: Sequence[Val]) -> list[Val]:
    """The reverse of `_parts`, for values that are like `form`."""
    rest = iter(parts)
    return [Complex(next(rest), next(rest)) if isinstance(x, Complex) else next(rest) for x in form]
