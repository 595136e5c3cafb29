"""The source of randomness: a 32-bit Mersenne twister whose seeds, stream and saved states are PyTorch's (CPU).

`Generator.raw` hands out the stream; the other files of this folder turn it into distributions. NumPy's MT19937
runs the twister, here it gets PyTorch's seeding and the 5056-byte layout that PyTorch saves states in.
Source: Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from flambeau.devices import device, require_cpu
from flambeau.random import native

WORDS = 624
DEFAULT_SEED = 67280421310721  # of a Generator that was not seeded, as in PyTorch
_MASK64 = (1 << 64) - 1

# The C struct that PyTorch copies in and out, fields it no longer uses included.
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "words", "normal_x", "normal_y", "normal_rho", "normal_valid",
                  "float_normal", "float_normal_valid"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", WORDS), "<f8", "<f8", "<f8", "<i4", "<f4", "?"],
        "offsets": [0, 8, 12, 16, 24, 5016, 5024, 5032, 5040, 5048, 5052],
        "itemsize": 5056,
    }
)  # fmt: skip


def _seeded(seed: int) -> np.ndarray:
    """The words that a stream starts from."""
    word = seed & 0xFFFFFFFF
    words = [word]
    for i in range(1, WORDS):
        word = (1812433253 * (word ^ (word >> 30)) + i) & 0xFFFFFFFF
        words.append(word)
    return np.array(words, np.uint32)


def _state(words: np.ndarray, position: int) -> dict[str, Any]:
    """A state as NumPy's twister takes it."""
    return {"bit_generator": "MT19937", "state": {"key": words, "pos": position}}


class Generator:
    """A pseudo-random stream of its own: `Generator().manual_seed(0)`.

    Args:
        device: where the numbers will be used; the CPU is the one device of this release.

    >>> Generator().manual_seed(0).raw(2).tolist()
    [2357136044, 2546248239]
    """

    _made: np.random.MT19937

    def __init__(self, device: Any = "cpu") -> None:
        self._device = require_cpu(device)
        self.next_normal: float | None = None  # Box-Muller gives two numbers, the second waits here
        self._restart(DEFAULT_SEED)

    @property
    def device(self) -> device:
        return self._device

    @property
    def _twister(self) -> np.random.MT19937:
        """NumPy's generator, made when it is first wanted: to import it takes as long as a tenth of this package."""
        if "_made" not in vars(self):
            made = np.random.MT19937(0)
            made.state = _state(_seeded(self._seed), WORDS)
            vars(self).setdefault("_made", made)  # of two threads' the first
        return self._made

    def _restart(self, seed: int) -> None:
        self._seed = seed
        self._untouched = True
        self.next_normal = None
        if "_made" in vars(self):
            self._set_words(_seeded(seed), WORDS)

    def _set_words(self, words: np.ndarray, position: int) -> None:
        self._twister.state = _state(words, position)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed` (its low 32 bits decide); negative seeds count from 2**64 down."""
        if not hasattr(seed, "__index__"):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        self._restart(seed_bits(seed.__index__()))
        return self

    def seed(self) -> int:
        """Start a stream from the operating system's randomness; returns the seed."""
        seed = int.from_bytes(os.urandom(8), "little") & 0x1FFFFFFFFFFFFF
        self._restart(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    # -- the stream --------------------------------------------------------------------------------------------

    def raw(self, n: int) -> np.ndarray:
        """The next `n` 32-bit words, as uint64."""
        if n:
            self._untouched = False
        out = np.empty(n, np.uint64)
        return out if self.drawn("raw", out) else self._twister.random_raw(n)

    def drawn(self, kernel: str, out: np.ndarray, *words: int) -> bool:
        """Fill `out` by one of `random.kernels`, if they are there; False: NumPy has to."""
        if not native.drawn(kernel, self._twister, out, *words):
            return False
        self._untouched = False
        return True

    def raw64(self, n: int) -> np.ndarray:
        """The next `n` 64-bit words; each is made of two 32-bit words, the high one first."""
        pairs = self.raw(2 * n)
        high = pairs[0::2] << np.uint64(32)
        high |= pairs[1::2]
        return high

    @contextlib.contextmanager
    def rewindable(self) -> Iterator[Rewind]:
        """Draw ahead, then say how much was used: for samplers that reject (see `Rewind`)."""
        rewind = Rewind(self)
        yield rewind
        rewind.close()

    # -- saved states ------------------------------------------------------------------------------------------

    def state_bytes(self) -> np.ndarray:
        """The state as uint8[5056], byte for byte what PyTorch's `get_state` gives."""
        inner = self._twister.state["state"]
        state = np.zeros((), _STATE)
        state["seed"], state["seeded"] = self._seed, 1
        # PyTorch counts both what is used of the block of words and what is left; a new seed has left 1, next 0.
        state["next"] = 0 if self._untouched else inner["pos"]
        state["left"] = WORDS + 1 - inner["pos"]
        state["words"] = inner["key"]
        if self.next_normal is not None:
            state["normal_y"], state["normal_valid"] = self.next_normal, 1
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state_bytes(self, data: np.ndarray) -> None:
        """Continue from a state that `state_bytes` or PyTorch's `get_state` gave."""
        if data.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if data.size != _STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {_STATE.itemsize} but found the input RNG state size to be "
                f"{data.size}"
            )
        state = np.frombuffer(np.ascontiguousarray(data).tobytes(), _STATE)[0]
        left, used = int(state["left"]), int(state["next"])
        if not (state["seeded"] == 1 and 0 < left <= WORDS and used <= WORDS):
            raise RuntimeError("Invalid mt19937 state")
        self._untouched = left == 1 and used == 0
        self._set_words(state["words"].astype(np.uint32), WORDS if left == 1 else used)
        self._seed = int(state["seed"])
        self.next_normal = float(state["normal_y"]) if state["normal_valid"] else None

    def clone_state(self) -> Generator:
        """A second generator that will give the same numbers."""
        twin = Generator(self._device)
        twin.set_state_bytes(self.state_bytes())
        return twin

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        raise RuntimeError("CPU Generator does not use offset")

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self._device, "state": self.state_bytes()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        Generator.__init__(self, saved["device"])
        self.set_state_bytes(saved["state"])

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {hex(id(self))}>"


class Rewind:
    """Uniform numbers in [0, 1) drawn ahead from a generator, which then continues after the last one used.

    Samplers that reject cannot know how many numbers they need; drawing one at a time would be slow.
    """

    BLOCK = 4096

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._before: Any = None
        self._pool: list[float] = []
        self._used = 0

    def uniform(self) -> float:
        """The next double in [0, 1), with 53 random bits."""
        if self._used == len(self._pool):
            self._before = self._generator._twister.state
            words = self._generator.raw64(self.BLOCK)
            self._pool = ((words & np.uint64((1 << 53) - 1)) * 2.0**-53).tolist()
            self._used = 0
        self._used += 1
        return self._pool[self._used - 1]

    def close(self) -> None:
        if self._used < len(self._pool):
            self._generator._twister.state = self._before
            self._generator.raw(2 * self._used)
        self._pool, self._used = [], 0


def seed_bits(seed: int) -> int:
    """A user's seed as 64 bits; ValueError beyond [-2**63, 2**64)."""
    if not -(1 << 63) <= seed <= _MASK64:
        raise ValueError("Overflow when unpacking long long")
    return seed & _MASK64


default_generator = Generator()
default_generator.seed()
_thread = threading.local()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it.

    >>> manual_seed(7).initial_seed()
    7
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator from the operating system's randomness; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return default_generator.initial_seed()


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None, enabled: bool = True, _caller: str = "fork_rng",
    _devices_kw: str = "devices", device_type: str | None = None,
) -> Iterator[None]:  # fmt: skip
    """Let the body draw from the default generator, then put the generator back where it was.

    Args:
        devices: accelerators whose generators are to be forked too; there is none in this release.
        enabled: False makes this a no-op.
    """
    if device_type is not None:
        device(device_type)  # refuses unknown names
    if not enabled or device_type == "meta":
        yield
        return
    for name in devices or ():
        require_cpu(name if isinstance(name, (str, device)) else device(device_type or "cuda", name))
    before = default_generator.state_bytes()
    try:
        yield
    finally:
        default_generator.set_state_bytes(before)


def set_thread_generator(generator: Generator | None) -> None:
    """Give the calling thread a generator of its own; loader threads do this for `thread_safe_generator`."""
    _thread.generator = generator


def thread_safe_generator() -> Generator | None:
    """The generator of a loader's worker thread; None elsewhere, which everywhere means the default generator."""
    return getattr(_thread, "generator", None)
