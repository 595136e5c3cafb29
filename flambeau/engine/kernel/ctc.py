"""Connectionist temporal classification: the kernels of the forward and the backward recursion over a lattice.

A task is a sequence. Lanes are states: labels with blanks around each, in a row with room on both sides, so that a
state's neighbours are read without asking whether they exist. The recursion goes through time in such rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flambeau.dtypes import COMPLEX, FLOAT, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move_walk import lanes_loop
from flambeau.engine.kernel.pool.planes import contiguous
from flambeau.engine.kernel.scalars import Scalars
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported

_ROOM = 2  # states before the first one and behind the last one
_NEVER = -math.inf  # the logarithm of a probability of 0
_Values = Callable[[Index, Val | None], Val]  # of the lanes from a place on, where a mask holds


@dataclass(frozen=True)
class _Form:
    """What the code depends on."""

    targets: dtype
    dtype: dtype
    rows: bool  # targets are rows of a matrix, rather than all in one row

    @property
    def width(self) -> int:
        return vector_bytes() // self.dtype.itemsize

    @property
    def type(self) -> str:
        return vector(scalars.compute_type(self.dtype), self.width)

    @property
    def memory(self) -> str:
        return scalars.memory_type(self.dtype)

    @property
    def key(self) -> str:
        return f"{self.dtype.name} {self.targets.name} {self.rows:d} w{self.width}"

    def padded(self, states: int) -> int:
        """Elements of a row of states."""
        return -(-states // self.width) * self.width + 2 * _ROOM


def _described(site: Site, call: Call, operands: Sequence[Arg], rows: int) -> tuple[_Form, Words]:
    """The words that both kernels read: `operands` are log-probabilities, targets and both lengths; each sequence has
    `rows` rows of scratch."""
    log_p, targets, inputs, labels = operands
    if log_p.dtype.category != FLOAT or targets.dtype.category == COMPLEX:
        raise Unsupported(f"alignments in {log_p.dtype}")
    form = _Form(targets.dtype, log_p.dtype, len(targets.shape) == 2)
    (steps, batch, classes), states = log_p.shape, 2 * call.params["longest"] + 1
    pad, words = form.padded(states), Words()
    at, (step, image, _) = _neighbouring_classes(site, log_p)
    words.add(
        log_p=at, step=step, image=image, steps=steps, batch=batch, classes=classes, states=states, pad=pad,
        targets=contiguous(site, targets), row=targets.shape[-1], inputs=contiguous(site, inputs),
        lengths=contiguous(site, labels), blank=call.params["blank"], status=site.status(),
        labels=site.temp(4 * batch * pad), scratch=site.temp(batch * rows * pad * form.dtype.itemsize),
    )  # fmt: skip
    return form, words


def _neighbouring_classes(site: Site, log_p: Arg) -> tuple[Address, tuple[int, ...]]:
    if log_p.strides[2] == 1:
        return site.source(log_p), log_p.strides
    steps, batch, classes = log_p.shape
    return contiguous(site, log_p), (batch * classes, classes, 1)


def _launch(site: Site, call: Call, log_p: Arg, name: str, kernel: Kernel, words: Words) -> None:
    steps, batch, classes = log_p.shape
    states = float(steps * batch * (2 * call.params["longest"] + 1))
    moved = float(steps * batch * classes * log_p.dtype.itemsize)
    site.launch(kernel, tuple(words.args), batch, 8 * states, name, (60 * states, moved))


class _Lattice:
    """A sequence's states, while its task is being emitted."""

    def __init__(self, k: Emitter, w: Bound, form: _Form, n: Val, rows: int) -> None:
        self.k, self.w, self.form, self.n = k, w, form, n
        self.s = Scalars(k, form.dtype)
        self.states, pad = w.integer(k, "states"), w.integer(k, "pad")
        self.length = k.load(w.pointer(k, "lengths"), n, "i64")
        self.time = k.load(w.pointer(k, "inputs"), n, "i64")
        self.width = self.length * 2 + 1
        self.labels = k.at(w.pointer(k, "labels"), k.add(k.mul(n, pad), _ROOM), "i32")
        first = k.add(k.mul(k.mul(n, pad), rows), _ROOM)
        self.rows = [k.at(w.pointer(k, "scratch"), k.add(first, k.mul(pad, nr)), form.memory) for nr in range(rows)]
        self.never = k.const(form.type, _NEVER)
        self._lay_out()
        for row in self.rows:
            self._forget(row)

    def _forget(self, row: Val) -> None:
        """No state of a row can be."""
        self.k.store(self.k.const(vector(self.form.memory, _ROOM), _NEVER), row, -_ROOM)
        end = self.k.add(self.states, _ROOM)
        lanes_loop(self.k, 0, end, self.form.width, lambda s, mask: self.put(self.never, row, s, mask), unroll=1)

    def put(self, x: Val, row: Val, s: Index, mask: Val | None = None) -> None:
        scalars.store(self.k, x, row, s, self.form.dtype, mask)

    def _lay_out(self) -> None:
        """The labels of all states: blanks, but for those of the targets."""
        k, w = self.k, self.w
        blank, classes = k.cast(w.integer(k, "blank"), "i32"), w.integer(k, "classes")
        with k.loop(w.integer(k, "pad")) as s:
            k.store(blank, self.labels, k.sub(s, _ROOM))
        first = k.mul(self.n, w.integer(k, "row")) if self.form.rows else self._before()
        targets = k.at(w.pointer(k, "targets"), first, scalars.memory_type(self.form.targets))
        with k.loop(self.length) as i:
            label = k.cast(scalars.load(k, targets, i, self.form.targets, 1), "i64")
            label = k.select(label < 0, label + classes, label)
            there = k.compare("lt", label, classes, unsigned=True)
            with k.when(k.bits("xor", there, True)):
                k.store(k.const("i64", 1), w.pointer(k, "status"), 0)
            k.store(k.select(there, k.cast(label, "i32"), blank), self.labels, k.add(k.mul(i, 2), 1))

    def _before(self) -> Val:
        """How many labels the sequences before this one have."""
        k = self.k
        with k.loop(self.n, carried=[k.const("i64", 0)]) as loop:
            loop.carry(loop.carried[0] + k.load(self.w.pointer(k, "lengths"), loop.i, "i64"))
        return loop.results[0]

    def label(self, s: Index) -> Val:
        return self.k.load(self.labels, s, vector("i32", self.form.width))

    def skips(self, s: Index) -> Val:
        """Whether states may be reached from those two before them: past a blank, if the labels differ."""
        label = self.label(s)
        differs = label.differs(self.label(self.k.sub(s, 2)))
        return self.k.bits("and", label.differs(self.k.cast(self.w.integer(self.k, "blank"), "i32")), differs)

    def log_p(self, t: Index) -> Val:
        """The log-probabilities of a time step."""
        k, w = self.k, self.w
        offset = k.add(k.mul(t, w.integer(k, "step")), k.mul(self.n, w.integer(k, "image")))
        return k.at(w.pointer(k, "log_p"), offset, self.form.memory)

    def emitted(self, t: Index, s: Index) -> Val:
        """The log-probabilities of states' labels."""
        return self.k.gather(self.log_p(t), self.label(s), self.form.memory)

    def there(self, x: Val, s: Index) -> Val:
        """`x` of the sequence's states, nothing of those behind the last one."""
        places = self.places(s)
        return self.k.select(places < self.width, x, _NEVER)

    def places(self, s: Index) -> Val:
        type = vector("i64", self.form.width)
        return self.k.add(self.k.ramp(type), self.k.val(s, type))

    def at(self, word: str, t: Index) -> Val:
        """The states of a time step in one of the arrays [time, batch, states]."""
        k, w = self.k, self.w
        row = k.add(k.mul(t, w.integer(k, "batch")), self.n)
        return k.at(w.pointer(k, word), k.mul(row, self.states), self.form.memory)

    def over(self, body: Callable[[Val, Val], None]) -> None:
        """`body(s, mask)` over the states by whole vectors; the mask says which states there are."""
        with self.k.loop(self.states, step=self.form.width) as s:
            body(s, self.k.mask(self.k.sub(self.states, s), self.form.width))


def _log_add(s: Scalars, *terms: Val) -> Val:
    """The logarithm of a sum of exponentials."""
    top = terms[0]
    for term in terms[1:]:
        top = s.maximum(top, term)
    safe = s.where(s.eq(top, _NEVER), 0.0, top)
    total = s.exp(terms[0] - safe)
    for term in terms[1:]:
        total = total + s.exp(term - safe)
    return s.log(total) + safe


# -- losses ----------------------------------------------------------------------------------------------------


@widened
def forward(site: Site, call: Call) -> None:
    """Losses [batch], and the log-probabilities of all prefixes [time, batch, states]."""
    form, words = _described(site, call, call.inputs, 2)
    words.add(losses=site.result(0), alphas=site.result(1))
    bound = words.bind()
    kernel = Kernel(f"ctc {form.key}", lambda k: _emit_forward(k, bound, form))
    _launch(site, call, call.inputs[0], "ctc", kernel, words)


def _emit_forward(k: Emitter, w: Bound, form: _Form) -> None:
    with k.tasks() as n:
        x = _Lattice(k, w, form, n, 2)

        def begin(s: Val, mask: Val) -> None:
            value = x.there(k.select(x.places(s) < 2, x.emitted(0, s), _NEVER), s)
            x.put(value, x.rows[0], s)
            x.put(value, x.at("alphas", 0), s, mask)

        x.over(begin)
        with k.loop(w.integer(k, "steps"), start=1) as t:
            odd = k.bits("and", t, 1).equals(1)
            before, row = k.select(odd, *x.rows), k.select(odd, *x.rows[::-1])

            def step(s: Val, mask: Val) -> None:
                near = [k.load(before, k.sub(s, back), form.type) for back in range(3)]
                near[2] = k.select(x.skips(s), near[2], _NEVER)
                value = x.there(_log_add(x.s, *near) + x.emitted(t, s), s)
                x.put(value, row, s)
                x.put(value, x.at("alphas", t), s, mask)

            x.over(step)
        scalars.store(k, _loss(k, x), w.pointer(k, "losses"), n, form.dtype)


def _loss(k: Emitter, x: _Lattice) -> Val:
    """From the prefixes that end with the last label, and with the blank after it; in no time, only nothing is said."""
    ends = x.at("alphas", k.maximum(k.sub(x.time, 1), 0))
    last = scalars.load(k, ends, k.sub(x.width, 1), x.form.dtype, 1)
    before = scalars.load(k, ends, k.maximum(k.sub(x.width, 2), 0), x.form.dtype, 1)
    loss = -_log_add(x.s, last, k.select(x.length > 0, before, _NEVER))
    nothing = k.select(x.length.equals(0), k.const(loss.type, 0), math.inf)
    return k.select(x.time.equals(0), nothing, loss)


# -- gradient --------------------------------------------------------------------------------------------------


@widened
def backward(site: Site, call: Call) -> None:
    """The gradient of the scores whose log-softmax the log-probabilities are."""
    g, log_p, targets, inputs, labels, losses, alphas = call.inputs
    form, words = _described(site, call, (log_p, targets, inputs, labels), 3)
    classes = log_p.shape[2]
    words.add(
        g=site.source(g), each=g.strides[0], losses=contiguous(site, losses), alphas=contiguous(site, alphas),
        out=site.result(), occupied=site.temp(log_p.shape[1] * classes * form.dtype.itemsize),
    )  # fmt: skip
    bound, zero = words.bind(), call.params["zero_infinity"]
    kernel = Kernel(f"ctc back {form.key} {zero:d}", lambda k: _Backward(k, bound, form, zero).emit())
    _launch(site, call, log_p, "ctc back", kernel, words)


class _Backward:
    """Emits the backward recursion: of each time step the suffixes, how much every class is occupied, the gradient."""

    def __init__(self, k: Emitter, w: Bound, form: _Form, zero_infinity: bool) -> None:
        self.k, self.w, self.form = k, w, form
        self.hopeless = 0.0 if zero_infinity else math.nan  # the gradient where no alignment is possible

    def emit(self) -> None:
        k, w, form = self.k, self.w, self.form
        with k.tasks() as n:
            x = self.x = _Lattice(k, w, form, n, 3)
            self.occupied = k.at(w.pointer(k, "occupied"), k.mul(n, w.integer(k, "classes")), form.memory)
            self.loss = scalars.load(k, w.pointer(k, "losses"), n, form.dtype, 1)
            self.scale = scalars.load(k, w.pointer(k, "g"), k.mul(n, w.integer(k, "each")), form.dtype, 1)
            with k.loop(w.integer(k, "steps"), start=x.time) as t:
                self.write(t, lambda c, mask: k.const(form.type, 0))
            with k.loop(x.time) as done:
                t, odd = k.sub(k.sub(x.time, 1), done), k.bits("and", done, 1).equals(1)
                self.step(t, done, k.select(odd, *x.rows[:2]), k.select(odd, *x.rows[1::-1]))

    def step(self, t: Val, done: Val, behind: Val, row: Val) -> None:
        k, x, form = self.k, self.x, self.form

        def states(s: Val, mask: Val) -> None:
            near = [k.load(behind, k.add(s, ahead), form.type) for ahead in range(3)]
            near[2] = k.select(x.skips(k.add(s, 2)), near[2], _NEVER)
            places = x.places(s)
            ends = k.bits("and", places < x.width, places >= k.maximum(k.sub(x.width, 2), 0))
            start = k.select(ends, k.const(form.type, 0), _NEVER)
            emitted = x.emitted(t, s)
            suffix = x.there(k.select(done.equals(0), start, _log_add(x.s, *near)) + emitted, s)
            x.put(suffix, row, s)
            prefix = scalars.load(k, x.at("alphas", t), s, form.dtype, form.width, mask)
            share = x.s.exp(prefix + suffix - emitted + k.splat(self.loss, form.width))
            x.put(k.select(x.s.isfinite(share), share, 0.0), x.rows[2], s)

        x.over(states)
        self._occupy()
        self.write(t, self._difference(t))

    def _occupy(self) -> None:
        """How probable every class is at this time, given the targets."""
        k, x = self.k, self.x
        zero, classes = k.const(self.form.type, 0), self.w.integer(k, "classes")
        lanes_loop(k, 0, classes, self.form.width, lambda c, mask: x.put(zero, self.occupied, c, mask), unroll=1)
        with k.loop(x.width) as s:
            place = k.cast(k.load(x.labels, s, "i32"), "i64")
            held = scalars.load(k, self.occupied, place, self.form.dtype, 1)
            x.put(held + scalars.load(k, x.rows[2], s, self.form.dtype, 1), self.occupied, place)

    def _difference(self, t: Val) -> _Values:
        k, x, form = self.k, self.x, self.form

        def value(c: Index, mask: Val | None) -> Val:
            p, held = (
                scalars.load(k, row, c, form.dtype, form.width, mask) for row in (x.log_p(t), self.occupied)
            )  # fmt: skip
            return x.s.exp(p) - held

        return value

    def write(self, t: Val, value: _Values) -> None:
        """The gradient at a time: `value(c, mask)`, scaled."""
        k, w, x = self.k, self.w, self.x
        classes = w.integer(k, "classes")
        row = k.mul(k.add(k.mul(t, w.integer(k, "batch")), x.n), classes)
        out, impossible = k.at(w.pointer(k, "out"), row, self.form.memory), x.s.isinf(self.loss)

        def body(c: Index, mask: Val | None) -> None:
            found = value(c, mask) * k.splat(self.scale, self.form.width)
            x.put(k.select(impossible, self.hopeless, found), out, c, mask)

        lanes_loop(k, 0, classes, self.form.width, body, unroll=1)
