"""How copies move single lanes: as their bits if the dtype stays, else cast; or added to what is there."""

from __future__ import annotations

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.target import vector_bytes

RAW = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}  # elements that are only moved, by size


class Moved:
    """How single lanes are moved: as their bits if the dtype stays, else cast. Named by `key`.

    With `stream`, whole vectors are put past the caches: whoever puts them sees to it that they are aligned.
    """

    def __init__(self, source: dtype, target: dtype, stream: bool = False) -> None:
        self.source, self.target, self.stream = source, target, stream
        self.raw = RAW[target.itemsize]
        self.same = source is target
        self.key = f"{source.itemsize}" if self.same else f"{source.name}>{target.name}"
        self.width = max(min(vector_bytes() // max(source.itemsize, target.itemsize), 64), 1)

    def streams(self, run: int) -> bool:
        """Whether runs of so many elements go past the caches."""
        return self.stream and run * self.target.itemsize >= 4 * LINE

    def load(self, k: Emitter, base: Val, index: Index, width: int, mask: Val | None = None) -> Val:
        """Lanes as the target's memory will hold them."""
        memory = vector(self.raw if self.same else scalars.memory_type(self.source), width)
        x = k.load(base, index, memory) if mask is None else k.masked_load(base, index, memory, mask)
        return self._cast(k, x)

    def pick(self, k: Emitter, base: Val, index: Index, width: int, step: int) -> Val:
        """Every `step`-th of the lanes from `index` on: out of vectors that hold them all, and nothing behind them."""
        if width == 1:
            return self.load(k, base, index, 1)
        memory = vector(self.raw if self.same else scalars.memory_type(self.source), width)
        last = width * step - (step - 1) - width
        starts = [*range(0, (step - 1) * width, width), last]
        places = [(min(lane * step // width, step - 1), lane * step) for lane in range(width)]
        x = k.load(base, index, memory)
        for nr, start in enumerate(starts):
            part = x if nr == 0 else k.load(base, k.add(index, start), memory)
            picks = [width + at - start if of == nr else lane for lane, (of, at) in enumerate(places)]
            x = k.shuffle(x, part, picks)
        return self._cast(k, x)

    def gather(self, k: Emitter, base: Val, indices: Val, mask: Val | None) -> Val:
        return self._cast(k, k.gather(base, indices, self.raw if self.same else scalars.memory_type(self.source), mask))

    def _cast(self, k: Emitter, x: Val) -> Val:
        if self.same:
            return x
        found = scalars.convert(k, scalars.widened(k, x, self.source), self.target)
        found = scalars.narrowed(k, found, self.target)
        return k.cast(found, "i8") if self.target is dtypes.bool_ else found

    def put(
        self, k: Emitter, x: Val, base: Val, index: Index, mask: Val | None = None, stream: bool = False
    ) -> None:  # fmt: skip
        """Lanes into the target."""
        if mask is None:
            k.store(x, base, index, stream=stream)
        else:
            k.masked_store(x, base, index, mask)


class Added(Moved):
    """Lanes that are added to what the target holds."""

    def __init__(self, source: dtype, target: dtype) -> None:
        super().__init__(source, target)
        self.same = False
        self.key = f"{source.name}+{target.name}"

    def _cast(self, k: Emitter, x: Val) -> Val:
        return scalars.convert(k, scalars.widened(k, x, self.source), self.target)

    def put(
        self, k: Emitter, x: Val, base: Val, index: Index, mask: Val | None = None, stream: bool = False
    ) -> None:  # fmt: skip
        held = scalars.load(k, base, index, self.target, lanes(x.type), mask)
        total = scalars.Scalars(k, self.target).add(held, x)
        scalars.store(k, total, base, index, self.target, mask)
