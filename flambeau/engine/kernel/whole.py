"""Arithmetic of whole numbers that needs more than an instruction: quotients, remainders, powers, common factors.

Lanes are of any integer type, all of them signed; results wrap around. Nothing traps: a divisor of zero gives some
number, so who divides looks at the divisors first.
"""

from __future__ import annotations

from flambeau.engine.kernel.emit import Emitter, Val, element
from flambeau.engine.schedule.lowering import Unsupported


def _refuse_bools(x: Val) -> None:
    if element(x.type) == "i1":
        raise Unsupported("bools as numbers")


def quotient(k: Emitter, a: Val, b: Val) -> Val:
    """a / b, rounded towards zero. The machine would trap at a divisor of zero, and at the least number by -1."""
    _refuse_bools(a)
    minus = b.equals(-1)
    safe = k.select(k.bits("or", minus, b.equals(0)), 1, b)
    return k.select(minus, -a, k.div(a, safe))


def floor_quotient(k: Emitter, a: Val, b: Val) -> Val:
    """a / b, rounded down."""
    whole = quotient(k, a, b)
    return k.select(_astray(k, a - whole * b, b), whole - 1, whole)


def rest(k: Emitter, a: Val, b: Val) -> Val:
    """What `quotient` leaves: the sign is that of `a`."""
    return a - quotient(k, a, b) * b


def floor_rest(k: Emitter, a: Val, b: Val) -> Val:
    """What `floor_quotient` leaves: the sign is that of `b`."""
    left = rest(k, a, b)
    return k.select(_astray(k, left, b), left + b, left)


def _astray(k: Emitter, left: Val, b: Val) -> Val:
    """Where a remainder is not zero and has another sign than the divisor."""
    return k.bits("and", left.differs(0), k.bits("xor", left < 0, b < 0))


def power(k: Emitter, a: Val, b: Val) -> Val:
    """a ** b by squaring, for as many bits as the largest exponent has; b < 0 leaves 1, -1 or 0."""
    _refuse_bools(a)
    exponent = k.select(b < 0, 0, b)
    most = k.cast(k.fold(exponent, lambda x, y: k.select(x > y, x, y)), "i64")
    count = 64 - k.intrinsic("ctlz", "i64", most, k.const("i1", False))
    with k.loop(count, carried=[k.const(a.type, 1), a, exponent]) as loop:
        total, square, left = loop.carried
        total = k.select(k.bits("and", left, 1).differs(0), total * square, total)
        loop.carry(total, square * square, k.bits("lshr", left, 1))
    odd = k.bits("and", b, 1).differs(0)
    sign = k.select(odd, a, k.const(a.type, 1))
    inverse = k.select(k.bits("or", a.equals(1), a.equals(-1)), sign, 0)
    return k.select(b < 0, inverse, loop.results[0])


# -- common factors --------------------------------------------------------------------------------------------


def gcd(k: Emitter, a: Val, b: Val) -> Val:
    """The greatest common divisor: the odd parts by subtracting the smaller and halving, as often as there are bits."""
    a, b = _size(k, a), _size(k, b)
    both = k.bits("or", a, b)
    bits = k.cast(k.fold(both, lambda x, y: k.bits("or", x, y)), "i64", signed=False)
    rounds = k.mul(64 - k.intrinsic("ctlz", "i64", bits, k.const("i1", False)), 2)
    with k.loop(rounds, carried=[_odd(k, a), _odd(k, b)]) as loop:
        x, y = loop.carried
        less = k.compare("lt", x, y, unsigned=True)
        small = k.select(less, x, y)
        loop.carry(small, _odd(k, k.select(less, y, x) - small))
    return k.bits("shl", k.bits("or", *loop.results), _twos(k, both))


def lcm(k: Emitter, a: Val, b: Val) -> Val:
    """The least common multiple; 0 where a or b is."""
    a, b = _size(k, a), _size(k, b)
    divisor = gcd(k, a, b)
    odd = quotient(k, _odd(k, a), _odd(k, divisor))  # the least number is a power of two, and no number has its size
    share = k.bits("shl", odd, _twos(k, a) - _twos(k, divisor))
    return k.select(a.equals(0), 0, share * b)


def _size(k: Emitter, x: Val) -> Val:
    return k.select(x < 0, -x, x)


def _twos(k: Emitter, x: Val) -> Val:
    """How often 2 divides x; 0 where x is 0."""
    return k.select(x.equals(0), 0, k.intrinsic("cttz", x.type, x, k.const("i1", False)))


def _odd(k: Emitter, x: Val) -> Val:
    return k.bits("lshr", x, _twos(k, x))
