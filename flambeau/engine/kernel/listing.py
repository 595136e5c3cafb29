"""The text of a loop nest, for people who want to see what a fused kernel does (`flambeau explain`).

    for i in 0..64:
      for j in 0..10, 16 at a time:
        a = p0[10*i + j]
        b = max over j of a

Memory is named by the argument that points at it: p0 is the first. Values have letters, axes i, j, k ...
"""

from __future__ import annotations

from collections import Counter
from itertools import count

from flambeau.engine.kernel.nest import Axis, Nest

_LONGEST = 56  # characters of a formula that is not given a name of its own
_AXES = "ijklmn"
_LETTERS = "abcdefghoqrstuvwxyz"
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
          "eq": "==", "ne": "!=", "logical_and": "and", "logical_or": "or"}  # fmt: skip


def text(nest: Nest) -> list[str]:
    """The lines of a nest."""
    return _Listing(nest).lines


class _Listing:
    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.lines: list[str] = []
        self.indent = 0
        self.letters = count()
        self.names: dict[int, str] = {}  # of the steps that have been said, what they are called
        self.users = Counter([o for s in nest.steps for o in s.operands] + [s.step for s in nest.stores])
        self._write()

    def say(self, line: str) -> None:
        self.lines.append("  " * self.indent + line)

    def axis(self, nr: int) -> str:
        return _AXES[nr] if nr < len(_AXES) else f"i{nr}"

    # -- loops ---------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        nest = self.nest
        for nr in nest.outer:
            self.open(nr)
        if not nest.sweep:
            self.open(nest.lane)
        if nest.chunk:
            self.say(f"for block in 0..{nest.blocks}:")
            self.indent += 1
        for number in range(nest.passes):
            self._pass(number)
        for s in nest.stores:
            if not s.full:
                self.compute(s.step)
                self.store(s.step, s.access, s.check)

    def open(self, nr: int) -> None:
        nest, axis = self.nest, self.nest.axes[nr]
        together = nest.width * nest.strips if nr == nest.lane and not nest.sweep else nest.width
        lanes = f", {together} at a time" if nr == nest.lane else ""
        self.say(f"for {self.axis(nr)} in {self.extent(nr, axis)}{lanes}:")
        self.indent += 1

    def extent(self, nr: int, axis: Axis) -> str:
        if self.nest.flat:
            return "0..n"
        if self.nest.chunk and nr == self.nest.reduced[0]:
            return f"block*{self.nest.chunk}..min((block+1)*{self.nest.chunk}, {axis.extent})"
        return f"0..{axis.extent}"

    def _pass(self, number: int) -> None:
        """One walk over the row: what it sums up and what it stores."""
        nest = self.nest
        roots = nest.roots(number)
        if not roots:
            return
        sums = [nr for nr, s in enumerate(nest.steps) if s.kind == "reduce" and nest.stage[nr] == number]
        for step in sorted(nest.needed(roots, nest.kept, number)):
            if nest.level[step] <= 1 and self.shared(step):
                self.compute(step, named=True)
        for nr in sums:
            self.names[nr] = self.letter()
            self.say(f"{self.names[nr]} = {_START.get(nest.steps[nr].detail, 0)}")
        before = self.indent, dict(self.names)
        for nr in nest.inner:
            self.open(nr)
        for root in roots:
            self.compute(root)
        for nr in sums:
            name, x = self.names[nr], ", ".join(_bare(self.names[o]) for o in nest.steps[nr].operands)
            self.say(
                _COMBINED.get(nest.steps[nr].detail, "{0} = " + nest.steps[nr].detail + "({0}, {1})").format(name, x)
            )
        for s in nest.stores:
            if s.full and nest.known(s.step) == number:
                self.store(s.step, s.access, s.check)
        self.indent, names = before
        kept = {nr: self.names[nr] for nr in nest.kept if nr in self.names}
        self.names = names | kept

    # -- values --------------------------------------------------------------------------------------------------

    def letter(self) -> str:
        at = next(self.letters)
        return _LETTERS[at % len(_LETTERS)] + str(at // len(_LETTERS) or "")

    def shared(self, nr: int) -> bool:
        """Whether a step of the row is looked at from inside the row, or more than once."""
        level = self.nest.level
        inside = any(nr in s.operands and level[user] > 1 for user, s in enumerate(self.nest.steps))
        return inside or self.users[nr] > 1

    def compute(self, root: int, named: bool = False) -> None:
        """Say how a step is computed, after what it is made of; what is short and used once goes into its user."""
        if root in self.names:
            return
        step = self.nest.steps[root]
        for o in step.operands:
            if step.kind != "reduce":
                self.compute(o)
        formula = self.formula(root)
        short = len(formula) <= _LONGEST and self.users[root] == 1 and root not in self.nest.kept and not named
        if step.kind in ("constant", "number", "place"):
            self.names[root] = formula
        elif step.kind == "map" and short:
            self.names[root] = f"({formula})" if self.infix(root) else formula
        else:
            self.names[root] = self.letter()
            self.say(f"{self.names[root]} = {formula}")

    def infix(self, nr: int) -> bool:
        step = self.nest.steps[nr]
        return step.kind == "map" and step.detail.key in _INFIX and len(step.operands) == 2

    def formula(self, nr: int) -> str:
        step = self.nest.steps[nr]
        if step.kind == "constant":
            return _number(step.detail)
        if step.kind == "number":
            return f"p{step.detail[0]}[0]"
        if step.kind == "load":
            return self.place(step.detail)
        if step.kind == "place":
            return self.index(step.detail[0], step.detail[1])
        operands = [self.names[o] for o in step.operands]
        key = step.detail.key
        if self.infix(nr):
            return f"{operands[0]} {_INFIX[key]} {operands[1]}"
        if key == "copy":
            return operands[0]
        name, which = _function(key)
        return f"{name}({', '.join(map(_bare, operands))}){which}"

    def store(self, step: int, access: int, check: bool) -> None:
        if check:
            self.say(f"report bad data unless {_bare(self.names[step])}")
        else:
            self.say(f"{self.place(access)} = {_bare(self.names[step])}")

    def place(self, access: int) -> str:
        a = self.nest.accesses[access]
        block = f"{a.block if a.block != 1 else ''}{'*' if a.block != 1 else ''}block" if a.block else ""
        return f"p{access}[{' + '.join(x for x in (self.index(a.strides), block) if x and x != '0') or '0'}]"

    def index(self, strides: tuple[int, ...], offset: int = 0) -> str:
        terms = [f"{s}*{self.axis(nr)}" if s != 1 else self.axis(nr) for nr, s in enumerate(strides) if s]
        if offset or not terms:
            terms.append(str(offset))
        return " + ".join(terms).replace("+ -", "- ")


_START = {"sum": "0", "prod": "1", "max": "-inf", "min": "inf", "any": "false", "all": "true"}
_COMBINED = {"sum": "{0} += {1}", "prod": "{0} *= {1}", "any": "{0} = {0} or {1}", "all": "{0} = {0} and {1}"}


def _bare(formula: str) -> str:
    """A formula without the parentheses around all of it."""
    depth = 0
    for at, c in enumerate(formula):
        depth += (c == "(") - (c == ")")
        if depth == 0 and at < len(formula) - 1:
            return formula
    return formula[1:-1] if formula.startswith("(") else formula


def _function(key: str) -> tuple[str, str]:
    """The name of a map's function, and which of its results is meant: `sgd_update`, `[1]`."""
    name, bracket, rest = key.removeprefix("to ").partition("[")
    if not bracket:
        return name, ""
    which = rest[rest.rindex("[") :] if "][" in rest else ""
    inside = rest.removesuffix(which).removesuffix("]")
    return (name if len(inside) > 30 else f"{name}[{inside}]"), which


def _number(x: object) -> str:
    if isinstance(x, float):
        return f"{x:.9g}"
    return str(x)
