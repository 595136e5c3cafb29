"""utils.benchmark beside PyTorch's: statistics, printed measurements and tables of given times."""

from __future__ import annotations

import random
import re

import pytest

torch = pytest.importorskip("torch")

import torch.utils.benchmark as theirs  # noqa: E402

import flambeau.utils.benchmark as ours  # noqa: E402


def measurements(module, seed=0, envs=(None,), threads=(1, 4), spread=0.02, labels=("add", "mul")):
    rng = random.Random(seed)
    found = []
    for label in labels:
        for env in envs:
            for count in threads:
                for name, base in (("small", 3e-6), ("large one", 5e-4), ("x + 1", 7.7e-5)):
                    for column, factor in (("eager", 1.0), ("compiled", 0.31), ("base", 2.4)):
                        if rng.random() < 0.2:
                            continue
                        times = [100 * base * factor * (1 + rng.gauss(0, spread)) for _ in range(rng.choice([5, 9]))]
                        spec = module.TaskSpec("stmt", "pass", "", label, name, column, env, count)
                        found.append(module.Measurement(100, times, spec))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("options", [(), ("trim_significant_figures",), ("colorize",), ("highlight_warnings",)])
def test_tables(seed, spread, options):
    tables = []
    for module in (ours, theirs):
        envs = (None,) if seed % 2 else ("old", "newer")
        table = module.Compare(measurements(module, seed, envs, spread=spread))
        for option in options:
            getattr(table, option)()
        tables.append(str(table))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.001, 0.2, 0.5])
def test_statistics_and_printing(seed, spread):
    for mine, other in zip(measurements(ours, seed, spread=spread), measurements(theirs, seed, spread=spread)):
        assert mine.median == pytest.approx(other.median) and mine.mean == pytest.approx(other.mean)
        assert mine.iqr == pytest.approx(other.iqr) and mine.significant_figures == other.significant_figures
        assert mine.has_warnings == other.has_warnings and mine.title == other.title
        strip = lambda text: re.sub(r"<.*>", "", str(text))  # noqa: E731
        assert strip(mine) == strip(other)


def test_units_and_rounding():
    for value in (1e-9, 4.5e-8, 2e-6, 0.003, 0.5, 12.0, 999.0):
        assert ours.select_unit(value) == theirs.select_unit(value)
    for value in (3.14159, 0.00123456, 98765.0, 15.0, 99.99):
        for figures in (1, 2, 3, 4):
            assert ours.trim_sigfig(value, figures) == pytest.approx(theirs.trim_sigfig(value, figures))


@pytest.mark.parametrize("module", [ours, theirs])
def test_a_real_timer_in_both(module):
    seen = []
    timer = module.Timer("total = sum(x)", globals={"x": range(1000)}, label="sum")
    result = timer.blocked_autorange(callback=lambda number, time: seen.append(number), min_run_time=0.02)
    assert 1e-6 < result.median < 1e-2 and len(seen) == len(result.times) and set(seen) == {result.number_per_run}
    assert len(timer.adaptive_autorange(0.5, max_run_time=0.1).times) > 0
