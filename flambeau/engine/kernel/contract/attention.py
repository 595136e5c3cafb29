"""From attention's records to launches: operands as the kernels of `attend.py` and `attend_back.py` read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau import dtypes
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.contract.attend import ROOM, Form, forward
from flambeau.engine.kernel.contract.attend_back import backward, deltas, of_mask
from flambeau.engine.kernel.contract.finish import number_bits
from flambeau.engine.kernel.contract.pack import packed
from flambeau.engine.kernel.contract.product import Operand, broadcast_strides, joined
from flambeau.engine.kernel.contract.words import Words
from flambeau.engine.kernel.move import Window, copy, window
from flambeau.engine.kernel.target import vector_bytes, vector_registers
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides, is_contiguous

GRADIENTS = ("q_gradient", "k_gradient", "v_gradient")
HEADS = 8  # that are tasks enough
VECTORS = 2  # of a tile: with as many rows as the registers then hold


class _Heads:
    """The operands of attention, as batches of matrices over the same heads."""

    def __init__(
        self, site: Site, call: Call, shape: Ints, operands: dict[str, Any], results: Sequence[str] = ()
    ) -> None:  # fmt: skip
        """`shape` is that of the scores; operands are those that the kernels read, None for an absent one.

        `results` names those of the call's results whose heads need not be one behind the other.
        """
        self.site, self.call, self.scale = site, call, float(call.params["scale"])
        self.dtype = operands["q"].dtype
        if self.dtype not in (dtypes.float32, dtypes.float64):
            raise Unsupported(f"attention of {self.dtype}")
        *batch, self.queries, self.keys = shape
        places: dict[str, Address] = {}
        present: dict[str, Arg] = {}
        for name, x in operands.items():
            if x is not None:
                places[name], present[name] = self._near(name, x)
        for nr, name in enumerate(results):
            meta = call.metas[nr]
            places[name], present[name] = site.result(nr), Arg(0, meta.shape, meta.layout, 0, meta.dtype)
        spread = {name: self._spread(name, x, tuple(batch), shape) for name, x in present.items()}
        self.sizes, steps = joined(batch, [s[:-2] for s in spread.values()])
        self.operands = {
            name: Operand(places[name], present[name].dtype, spread[name][-2], spread[name][-1], own)
            for name, own in zip(spread, steps)
        }
        self.depth, self.size = operands["q"].shape[-1], operands["v"].shape[-1]
        self.batch = math.prod(batch)
        self.mask = ""
        if operands.get("mask") is not None:
            self.mask = "keep" if operands["mask"].dtype is dtypes.bool_ else "add"
            if self.mask == "add" and operands["mask"].dtype is not self.dtype:
                raise Unsupported("a mask of another dtype")

    def _near(self, name: str, x: Arg) -> tuple[Address, Arg]:
        """An operand where the elements of a head's row are neighbours: itself or a copy."""
        if name in ("mask", "noise") or x.shape[-1] == 1 or x.strides[-1] == 1 or 0 in x.shape:
            return self.site.source(x), x
        held = x._replace(strides=contiguous_strides(x.shape))
        place = self.site.temp(math.prod(x.shape) * x.dtype.itemsize)
        copy(self.site, x.shape, Window(place, held.strides, x.dtype), window(self.site, x), "attention")
        return place, held

    @staticmethod
    def _spread(name: str, x: Arg, batch: Ints, shape: Ints) -> Ints:
        if len(x.shape) - 2 > len(batch) or any(n != 1 and n != m for n, m in zip(x.shape[-3::-1], batch[::-1])):
            raise Unsupported("values of more heads than there are weights")
        return broadcast_strides(x, shape if name in ("mask", "noise") else (*batch, *x.shape[-2:]))

    @property
    def many(self) -> bool:
        """Whether heads alone are tasks enough: then scores and panels are made once for all rows of a head."""
        return self.batch >= HEADS

    def room(self, lanes: int, depth: int) -> int:
        """Elements of the panels that a task packs by itself, in whole powers of two; 0 where they are too many."""
        width = vector_bytes() // self.dtype.itemsize
        count = -(-lanes // (VECTORS * width)) * VECTORS * width * -(-depth // width) * width
        return 1 << (count - 1).bit_length() if count <= ROOM else 0

    def form(self, rows: int, turned: bool = False, whole: bool = False, room: int = 0) -> Form:
        fit = (vector_registers() - 1 - VECTORS) // VECTORS
        tile = -(-rows // -(-rows // fit))  # as many rows as fit, shared out evenly
        columns = VECTORS * vector_bytes() // self.dtype.itemsize
        wide = -(-max(self.depth, self.size) // columns) * columns
        return Form(
            self.dtype, tile, VECTORS, wide, len(self.sizes), self.call.params["causal"], self.mask,
            self._step("mask", turned), "noise" in self.operands, self._step("noise", turned), whole, room,
        )  # fmt: skip

    def _step(self, name: str, turned: bool) -> int:
        x = self.operands.get(name)
        step = 0 if x is None else x.outer if turned else x.inner
        return step if step in (0, 1) else -1

    def panels(self, name: str) -> Operand:
        """Keys, say, in panels of as many as a tile is wide."""
        x, count = self.operands[name], self.queries if name in "qg" else self.keys
        depth = self.depth if name in "qk" else self.size
        columns = VECTORS * vector_bytes() // self.dtype.itemsize
        return packed(self.site, self.sizes, depth, x, count, columns, self.dtype)

    def words(self, form: Form, rows: int, lanes: int, operands: dict[str, Operand], turned: bool = False) -> Words:
        words = Words()
        words.add(
            rows=rows, lanes=lanes, depth=self.depth, size=self.size, blocks=-(-rows // form.rows),
            scale=number_bits(self.scale),
        )  # fmt: skip
        for name in ("mask", "noise"):
            if name in self.operands:
                operands[name] = self.operands[name]
        for name, x in operands.items():
            turn = turned and name in ("mask", "noise")
            row, lane = (x.inner, x.outer) if turn else (x.outer, x.inner)
            words.add(**{name: x.at, f"{name}_rows": row, f"{name}_lanes": lane})
            words.add(**{f"{name}_batch{d}": s for d, s in enumerate(x.batch)})
        words.add(**{f"size{d}": n for d, n in enumerate(self.sizes)})
        return words

    def launch(self, kernel: Kernel, words: Words, rows: int, form: Form, products: int) -> None:
        flops = 2.0 * self.batch * self.queries * self.keys * (self.depth + self.size) / 2 * products
        if form.causal:
            flops /= 2
        moved = 4.0 * self.batch * (self.queries + self.keys) * (self.depth + self.size) * self.dtype.itemsize
        note = f"attention {self.batch}x{self.queries}x{self.keys}x{self.depth}"
        tasks = self.batch * (1 if form.whole else -(-rows // form.rows))
        self.site.launch(kernel, tuple(words.args), tasks, flops / 100, note, (flops, moved))


@widened
def attention(site: Site, call: Call) -> None:
    q, k, v, mask, noise = call.inputs
    out, sums = call.metas
    if tuple(out.shape[:-1]) != tuple(sums.shape):
        raise Unsupported("values of more heads than there are weights")
    if not math.prod(sums.shape):
        return
    shape = (*sums.shape, k.shape[-2])
    heads = _Heads(site, call, shape, {"q": q, "k": k, "v": v, "mask": mask, "noise": noise})
    room = heads.room(heads.keys, heads.depth) if heads.many and heads.keys else 0
    form = heads.form(heads.queries, whole=room > 0, room=room)
    own = heads.operands
    operands = {"q": own["q"], "k": own["k"] if room else heads.panels("k"), "v": own["v"]}
    words = heads.words(form, heads.queries, heads.keys, operands)
    words.add(out=site.result(0), sums=site.result(1))
    heads.launch(forward(form, words.bind()), words, heads.queries, form, 2)


@widened
def attention_backward(site: Site, call: Call) -> None:
    g, q, k, v, mask, noise, out, sums = call.inputs
    shape = (*sums.shape, k.shape[-2])
    if tuple(g.shape[:-1]) != tuple(sums.shape) or not all(is_contiguous(x.shape, x.strides) for x in (out, sums)):
        raise Unsupported("values of more heads than there are weights")
    heads = _Heads(site, call, shape, {"q": q, "k": k, "v": v, "g": g, "mask": mask, "noise": noise}, GRADIENTS)
    delta = site.temp(max(heads.batch * heads.queries, 1) * heads.dtype.itemsize)
    if heads.many and heads.queries and heads.keys:
        room = heads.room(heads.queries, max(heads.depth, heads.size))
        panels = {} if room else {name: heads.panels(name) for name in "qg"}
        form = heads.form(heads.keys, turned=True, whole=True, room=room)
        _gradients(heads, form, panels, delta, True)
        return
    _deltas(heads, delta)
    panels = {name: heads.panels(name) for name in "qkvg"}
    for turned, count in ((False, heads.queries), (True, heads.keys)):
        if count:
            _gradients(heads, heads.form(count, turned), panels, delta, turned)


@widened
def mask_gradient(site: Site, call: Call) -> None:
    g, q, k, v, mask, noise, out, sums = call.inputs
    shape = (*sums.shape, k.shape[-2])
    if tuple(g.shape[:-1]) != tuple(sums.shape) or not all(is_contiguous(x.shape, x.strides) for x in (out, sums)):
        raise Unsupported("values of more heads than there are weights")
    heads = _Heads(site, call, shape, {"q": q, "k": k, "v": v, "g": g, "mask": mask, "noise": noise})
    delta = site.temp(heads.batch * heads.queries * heads.dtype.itemsize)
    _deltas(heads, delta)
    form, own = heads.form(heads.queries), heads.operands
    operands = {"first": own["q"], "second": own["g"]}
    operands.update(first_panels=heads.panels("k"), second_panels=heads.panels("v"))
    words = heads.words(form, heads.queries, heads.keys, operands)
    words.add(sums=site.source(sums), delta=delta, gradient=site.result())
    heads.launch(of_mask(form, words.bind()), words, heads.queries, form, 2)


def _deltas(heads: _Heads, delta: Address) -> None:
    """For each query, the sum over g * out."""
    rows, out = heads.queries, heads.call.inputs[6]
    form = heads.form(max(rows, 1))
    words = heads.words(form, rows, heads.keys, {"g": heads.operands["g"]})
    words.add(out=heads.site.source(out), delta=delta)
    tasks = heads.batch * rows
    work = 2.0 * tasks * heads.size, 2.0 * tasks * heads.size * heads.dtype.itemsize
    heads.site.launch(deltas(form, words.bind()), tuple(words.args), tasks, 5.0 * tasks, "delta", work)


def _gradients(heads: _Heads, form: Form, panels: dict[str, Operand], delta: Address, turned: bool) -> None:
    """Launch the kernel of the queries' gradient, of those of keys and values (`turned`), or of all three."""
    site, own = heads.site, heads.operands
    out, sums = heads.call.inputs[6:]
    rows, lanes = (heads.keys, heads.queries) if turned else (heads.queries, heads.keys)
    a, b, c, d = "kqvg" if turned else "qkgv"
    operands = {"first": own[a], "first_right": own[b], "second": own[c], "second_right": own[d]}
    if panels:
        operands.update(first_panels=panels[b], second_panels=panels[d])
    operands["first_gradient"] = own[GRADIENTS[turned]]
    if turned:
        operands["second_gradient"] = own[GRADIENTS[2]]
    if form.whole:
        operands["lanes_gradient"] = own[GRADIENTS[0]]
    words = heads.words(form, rows, lanes, operands, turned)
    words.add(out=site.source(out), sums=site.source(sums), delta=delta)
    heads.launch(backward(form, words.bind(), turned), words, rows, form, 5 if form.whole else 4 if turned else 3)
