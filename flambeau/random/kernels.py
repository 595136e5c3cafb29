"""The stream of random numbers in machine code: the twister and the distributions that training draws most.

Each kernel continues a generator's stream in place, in the memory where NumPy's twister keeps it (624 words, then the
place reached), and gives the numbers that the NumPy code of this folder gives. The twister's words go through a buffer
that stays in the cache: `_Stream.fill` makes them, a distribution turns them into numbers.
Source of the twister: Matsumoto and Nishimura, ACM TOMACS 8(1), 1998; of the normal numbers: see `normal.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move_walk import lanes_loop
from flambeau.engine.plan import Kernel

WORDS, SHIFT = 624, 397
CHUNK = 4992  # words made at a time: eight turns of the twister
WIDTH = 16  # words of a vector: a block of normal numbers


class _Stream:
    """The twister, in a kernel whose first word is the address of its state."""

    def __init__(self, k: Emitter) -> None:
        self.k, self.state = k, k.pointer(0)
        self.buffer = k.stack("i32", CHUNK + WIDTH)

    def fill(self, count: Index) -> None:
        """The next `count` words (at most CHUNK) into the buffer."""
        k = self.k
        place = k.cast(k.load(self.state, WORDS, "i32"), "i64")
        turns = k.add(place, count) + (WORDS - 1)
        with k.loop(turns // WORDS, carried=[k.const("i64", 0)]) as loop:
            made = loop.carried[0]
            with k.when(loop.i > 0):
                self._twist()
                k.store(k.const("i32", 0), self.state, WORDS)
            at = k.cast(k.load(self.state, WORDS, "i32"), "i64")
            take = k.minimum(k.sub(WORDS, at), k.sub(count, made))
            self._temper(at, made, take)
            k.store(k.cast(at + take, "i32"), self.state, WORDS)
            loop.carry(made + take)

    def _twist(self) -> None:
        """A turn: every word from its neighbour and a distant one. Vectors end where the distance changes sign."""
        k, state = self.k, self.state
        for begin, end, far in ((0, WORDS - SHIFT, SHIFT), (WORDS - SHIFT, WORDS, SHIFT - WORDS)):
            if end == WORDS:  # the last word's neighbour is the first, new already; the place behind is free for it
                k.store(k.load(state, 0, "i32"), state, WORDS)

            def body(i: Index, mask: Val | None, far: int = far) -> None:
                type = vector("i32", WIDTH)
                reads = [
                    k.load(state, k.add(i, d), type) if mask is None else k.masked_load(state, k.add(i, d), type, mask)
                    for d in (0, 1, far)
                ]
                y = k.bits("or", k.bits("and", reads[0], 1 << 31), k.bits("and", reads[1], (1 << 31) - 1))
                odd = k.bits("and", k.sub(k.const(type, 0), k.bits("and", y, 1)), 0x9908B0DF)
                new = k.bits("xor", k.bits("xor", reads[2], k.bits("lshr", y, 1)), odd)
                if mask is None:
                    k.store(new, state, i)
                else:
                    k.masked_store(new, state, i, mask)

            lanes_loop(k, begin, end, WIDTH, body, unroll=1)

    def _temper(self, at: Val, made: Val, count: Val) -> None:
        k = self.k
        source, target = k.at(self.state, at, "i32"), k.at(self.buffer, made, "i32")

        def body(i: Index, mask: Val | None) -> None:
            type = vector("i32", WIDTH)
            y = k.load(source, i, type) if mask is None else k.masked_load(source, i, type, mask)
            y = k.bits("xor", y, k.bits("lshr", y, 11))
            y = k.bits("xor", y, k.bits("and", k.bits("shl", y, 7), 0x9D2C5680))
            y = k.bits("xor", y, k.bits("and", k.bits("shl", y, 15), 0xEFC60000))
            y = k.bits("xor", y, k.bits("lshr", y, 18))
            if mask is None:
                k.store(y, target, i)
            else:
                k.masked_store(y, target, i, mask)

        lanes_loop(k, 0, count, WIDTH, body, unroll=2)


Write = Callable[[Emitter, Val, Index, "Val | None"], None]  # (k, words, element, mask): a vector's worth of results


def _drawn(name: str, words: int, write: Write) -> Kernel:
    """A kernel (state, results, count, ...): `write` gets the words of 16 // `words` elements at a time."""

    def emit(k: Emitter) -> None:
        stream, count, per = _Stream(k), k.integer(2), CHUNK // words
        with k.loop(count, step=per) as start:
            here = k.minimum(k.sub(count, start), per)
            stream.fill(k.mul(here, words))

            def body(i: Index, mask: Val | None) -> None:
                read = k.load(stream.buffer, k.mul(i, words), vector("i32", WIDTH))
                write(k, read, k.add(start, i), mask)

            lanes_loop(k, 0, here, WIDTH // words, body, unroll=1)

    return Kernel(f"random {name}", emit)


def _store(k: Emitter, x: Val, index: Index, mask: Val | None) -> None:
    if mask is None:
        k.store(x, k.pointer(1), index)
    else:
        k.masked_store(x, k.pointer(1), index, mask)


# -- distributions ---------------------------------------------------------------------------------------------


def _unit(k: Emitter, words: Val) -> Val:
    """24 bits of each word as a float in [0, 1)."""
    return k.cast(k.bits("and", words, (1 << 24) - 1), "float") * 2.0**-24


def _pairs(k: Emitter, words: Val) -> Val:
    """Pairs of words as 53-bit integers, the high word first."""
    type = vector("i64", WIDTH // 2)
    pairs = k.emit(type, f"bitcast {words.type} {words.name} to {type}")
    turned = k.bits("or", k.bits("shl", pairs, 32), k.bits("lshr", pairs, 32))
    return k.bits("and", turned, (1 << 53) - 1)


def _raw(k: Emitter, words: Val, i: Index, mask: Val | None) -> None:
    _store(k, k.cast(words, "i64", signed=False), i, mask)


def _singles(k: Emitter, words: Val, i: Index, mask: Val | None) -> None:
    _store(k, _unit(k, words), i, mask)


def _doubles(k: Emitter, words: Val, i: Index, mask: Val | None) -> None:
    _store(k, k.cast(_pairs(k, words), "double") * 2.0**-53, i, mask)


def _flips(size: int) -> Write:
    """The bits of one (word 4) where 53 random bits are below a threshold (word 3), else zeros."""

    def write(k: Emitter, words: Val, i: Index, mask: Val | None) -> None:
        below = k.compare("lt", _pairs(k, words), k.integer(3))
        one = k.splat(k.cast(k.integer(4), f"i{8 * size}"), WIDTH // 2)
        _store(k, k.select(below, one, 0), i, mask)

    return write


def _normals(scaled: bool) -> Write:
    """A block of sixteen normal numbers: eight radii, eight angles. Words 3 and 4: bits of spread and mean."""

    def write(k: Emitter, words: Val, i: Index, mask: Val | None) -> None:
        u = _unit(k, words)
        first, second = k.shuffle(u, u, range(8)), k.shuffle(u, u, range(8, 16))
        radius = k.intrinsic("sqrt", first.type, _log(k, 1.0 - first) * -2.0)
        cosine, sine = _cos_sin(k, second * (2.0 * math.pi))
        x = k.shuffle(cosine * radius, sine * radius, range(16))
        if scaled:
            spread, mean = (k.splat(k.bitcast(k.cast(k.integer(w), "i32"), "float"), WIDTH) for w in (3, 4))
            x = k.fma(x, spread, mean)
        _store(k, x, i, mask)

    return write


_LOG = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]  # fmt: skip
_SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]
_COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]
_MINUS_QUARTER_PI = [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8]


def _horner(k: Emitter, coefficients: list[float], x: Val) -> Val:
    y = k.const(x.type, coefficients[0])
    for c in coefficients[1:]:
        y = k.fma(y, x, k.const(x.type, c))
    return y


def _log(k: Emitter, x: Val) -> Val:
    """The natural logarithm of numbers in (0, 1], as `normal._log` rounds it."""
    bits = k.bitcast(x, "i32")
    exponent = k.bits("lshr", bits, 23) - 126
    mantissa = k.bitcast(k.bits("or", k.bits("and", bits, 0x7FFFFF), 0x3F000000), "float")
    small = mantissa < 0.707106781186547524
    e = k.cast(k.select(small, exponent - 1, exponent), "float")
    m = (mantissa - 1.0) + k.select(small, mantissa, 0.0)
    z = m * m
    y = _horner(k, _LOG, m) * m
    y = k.fma(y, z, e * -2.12194440e-4)
    y = k.fma(z, -0.5, y)
    return k.fma(e, 0.693359375, m + y)


def _cos_sin(k: Emitter, x: Val) -> tuple[Val, Val]:
    """Cosine and sine of angles in [0, 2 pi], as `normal._cos_sin` rounds them."""
    octant = k.bits("and", k.cast(x * 1.27323954473516, "i32") + 1, -2)
    y = k.cast(octant, "float")
    for part in _MINUS_QUARTER_PI:
        x = k.fma(y, part, x)
    z = x * x
    even = _horner(k, _COS, z) * z
    even = k.fma(even, z, z * -0.5) + 1.0
    odd = _horner(k, _SIN, z) * z
    odd = k.fma(odd, x, x)
    swapped = k.bits("and", octant, 2).differs(0)
    sine, cosine = k.select(swapped, even, odd), k.select(swapped, odd, even)

    def negated(value: Val, bit: Val) -> Val:
        sign = k.bits("shl", k.bits("and", bit, 4), 29)
        return k.bitcast(k.bits("xor", k.bitcast(value, "i32"), sign), "float")

    return negated(cosine, k.bits("xor", octant - 2, -1)), negated(sine, octant)


def _shuffled(k: Emitter) -> None:
    """(state, numbers, count): exchanges each of `count` numbers but the last with one not before it."""
    stream, numbers, steps = _Stream(k), k.pointer(1), k.integer(2) - 1
    with k.loop(steps, step=CHUNK) as start:
        here = k.minimum(k.sub(steps, start), CHUNK)
        stream.fill(here)
        with k.loop(here) as i:
            word = k.cast(k.load(stream.buffer, i, "i32"), "i64", signed=False)
            at = k.add(start, i)
            other = k.add(at, k.rem(word, k.sub(k.integer(2), at)))
            mine, its = k.load(numbers, at, "i64"), k.load(numbers, other, "i64")
            k.store(its, numbers, at)
            k.store(mine, numbers, other)


KERNELS = {
    "raw": _drawn("raw", 1, _raw),
    "singles": _drawn("singles", 1, _singles),
    "doubles": _drawn("doubles", 2, _doubles),
    "normals": _drawn("normals", 1, _normals(False)),
    "scaled_normals": _drawn("scaled normals", 1, _normals(True)),
    **{f"flips{size}": _drawn(f"flips {size}", 2, _flips(size)) for size in (1, 2, 4, 8)},
    "shuffled": Kernel("random shuffled", _shuffled),
}
