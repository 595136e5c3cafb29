"""The Generator: seeding, the stream, saved states, forks, threads."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import flambeau
from flambeau import random
from flambeau.random import Generator
from flambeau.random.continuous import standard_doubles
from flambeau.random.normal import normal

_F32 = np.dtype(np.float32)


def _twister_words(seed: int, n: int) -> list[int]:
    """The Mersenne twister as its authors wrote it down, one word at a time."""
    state = [seed & 0xFFFFFFFF]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    out: list[int] = []
    while len(out) < n:
        for k in range(624):
            y = (state[k] & 0x80000000) | (state[(k + 1) % 624] & 0x7FFFFFFF)
            state[k] = state[(k + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        for y in state:
            y ^= y >> 11
            y ^= (y << 7) & 0x9D2C5680
            y ^= (y << 15) & 0xEFC60000
            out.append(y ^ (y >> 18))
    return out[:n]


@pytest.mark.parametrize("seed", [0, 1, 5489, 2**32 - 1, 2**40 + 3])
def test_stream_is_the_mersenne_twister(seed: int) -> None:
    assert Generator().manual_seed(seed).raw(1300).tolist() == _twister_words(seed, 1300)


def test_words_of_64_bits_are_pairs_high_word_first() -> None:
    g, h = Generator().manual_seed(3), Generator().manual_seed(3)
    words = g.raw(6).tolist()
    assert h.raw64(3).tolist() == [(words[i] << 32) | words[i + 1] for i in (0, 2, 4)]


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 625, 1247, 1248, 1249])
def test_a_state_continues_where_it_was_taken(drawn: int) -> None:
    g = Generator().manual_seed(9)
    g.raw(drawn)
    state, after = g.state_bytes(), g.raw(2000)
    other = Generator()
    other.set_state_bytes(state)
    assert np.array_equal(other.state_bytes(), state)
    assert np.array_equal(other.raw(2000), after)
    assert other.initial_seed() == 9


def test_the_waiting_normal_number_is_part_of_the_state() -> None:
    g = Generator().manual_seed(1)
    normal(g, 1, 0.0, 1.0, _F32)
    assert g.next_normal is not None
    twin = g.clone_state()
    assert normal(g, 1, 0.0, 1.0, _F32) == normal(twin, 1, 0.0, 1.0, _F32)
    assert np.array_equal(g.state_bytes(), twin.state_bytes())
    normal(g, 1, 0.0, 1.0, _F32)
    assert g.next_normal is not None
    assert g.manual_seed(1).next_normal is None


def test_copies_and_pickles_continue_independently() -> None:
    g = Generator().manual_seed(5)
    g.raw(10)
    for twin in (copy.deepcopy(g), pickle.loads(pickle.dumps(g)), g.clone_state()):
        expected = g.clone_state().raw(50)
        assert np.array_equal(twin.raw(50), expected)


def test_rewindable_draws_count_only_what_was_used() -> None:
    for used in (0, 1, 3, 4096, 4097):
        g, h = Generator().manual_seed(2), Generator().manual_seed(2)
        with g.rewindable() as ahead:
            numbers = [ahead.uniform() for _ in range(used)]
        assert numbers == standard_doubles(h, used).tolist()
        assert np.array_equal(g.state_bytes(), h.state_bytes())


def test_default_generator_follows_the_module_functions() -> None:
    assert flambeau.manual_seed(77) is random.default_generator
    assert flambeau.initial_seed() == 77
    before = flambeau.get_rng_state()
    first = flambeau.rand(4)
    flambeau.set_rng_state(before)
    assert flambeau.rand(4).tolist() == first.tolist()
    chosen = flambeau.seed()
    assert chosen == flambeau.initial_seed() and 0 <= chosen < 2**53
    assert random.get_rng_state is flambeau.get_rng_state


def test_a_given_generator_leaves_the_default_one_alone() -> None:
    flambeau.manual_seed(1)
    before = flambeau.get_rng_state().tolist()
    g = Generator().manual_seed(3)
    flambeau.randn(20, generator=g)
    flambeau.empty(3).uniform_(generator=g)
    flambeau.randperm(5, generator=g)
    flambeau.multinomial(flambeau.ones(4), 2, generator=g)
    assert flambeau.get_rng_state().tolist() == before


def test_fork_rng_puts_the_generator_back() -> None:
    flambeau.manual_seed(4)
    expected = flambeau.rand(3).tolist()
    flambeau.manual_seed(4)
    with random.fork_rng():
        flambeau.manual_seed(999)
        flambeau.rand(10)
    assert flambeau.rand(3).tolist() == expected
    flambeau.manual_seed(4)
    with pytest.raises(KeyError), random.fork_rng(devices=[]):
        flambeau.rand(10)
        raise KeyError
    assert flambeau.rand(3).tolist() == expected
    flambeau.manual_seed(4)
    with random.fork_rng(enabled=False):
        flambeau.rand(10)
    assert flambeau.rand(3).tolist() != expected


def test_fork_rng_refuses_absent_devices() -> None:
    with pytest.raises(AssertionError, match="not compiled with CUDA"), random.fork_rng(devices=[0]):
        pass


def test_threads_may_have_generators_of_their_own() -> None:
    seen: list[object] = []
    mine = Generator()

    def work() -> None:
        random.set_thread_generator(mine)
        seen.append(random.thread_safe_generator())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [mine]
    assert random.thread_safe_generator() is None


def test_get_state_is_a_tensor_of_its_own() -> None:
    g = Generator().manual_seed(8)
    state = g.get_state()
    assert state.dtype is flambeau.uint8 and tuple(state.shape) == (5056,)
    g.raw(5)
    assert g.set_state(state) is g
    assert g.get_state().tolist() == Generator().manual_seed(8).get_state().tolist()
