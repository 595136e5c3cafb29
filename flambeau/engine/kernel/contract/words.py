"""Names for the words of a kernel's argument block, so that a launch and its kernel agree on them by name."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.plan import Address


class Words:
    """The words of a launch while it is being described, in the order in which they were given."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.args: list[Address | int] = []

    def add(self, **words: Address | int) -> None:
        self.names.extend(words)
        self.args.extend(words.values())

    def bind(self) -> Bound:
        """The names alone: what a kernel keeps of them."""
        return Bound(self.names)


class Bound:
    """Reads words by name, in a kernel that is being emitted."""

    def __init__(self, names: Sequence[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}

    def pointer(self, k: Emitter, name: str) -> Val:
        return k.pointer(self.places[name])

    def integer(self, k: Emitter, name: str) -> Val:
        return k.integer(self.places[name])

    def number(self, k: Emitter, name: str, type: str) -> Val:
        """A word that holds the bits of a float64."""
        return k.cast(k.bitcast(self.integer(k, name), "double"), type)

    def __len__(self) -> int:
        return len(self.places)
