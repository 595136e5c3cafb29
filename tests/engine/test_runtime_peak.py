"""The measured limits of the machine are of the right order."""

from __future__ import annotations

import pytest

from flambeau.engine.runtime import peak


@pytest.mark.parametrize("rate", [lambda: peak.flops(), lambda: peak.flops("double"), peak.copy, peak.read])
def test_rates(rate: object) -> None:
    one, every = rate()
    assert 0.1 < one < 1000 and 0.1 < every < 100000
    assert rate() == (one, every)  # measured once
