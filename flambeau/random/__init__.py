"""Random numbers that equal PyTorch's on the CPU for the same seed.

`generator` is the stream, `normal`, `continuous` and `discrete` are the distributions as flat NumPy vectors, `order`
lays them out in memory. Nothing here knows tensors: `flambeau.ops.random` makes the public functions from it.
"""

from flambeau.random.generator import (
    Generator,
    default_generator,
    fork_rng,
    initial_seed,
    manual_seed,
    seed,
    set_thread_generator,
    thread_safe_generator,
)

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_thread_generator",
    "thread_safe_generator",
]
