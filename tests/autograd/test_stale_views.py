"""Views of a base that is overwritten: their nodes are made anew when somebody looks."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as torch


def graph(node: Any) -> list[Any]:
    """All nodes behind one."""
    found, waiting = {}, [node]
    while waiting:
        at = waiting.pop()
        if at is not None and id(at) not in found:
            found[id(at)] = at
            waiting += [behind for behind, _ in at.next_functions]
    return list(found.values())


def test_a_view_of_a_stale_view_is_younger_than_what_it_shows() -> None:
    """Each time, also when what is known of such views is looked up: the walk goes from young to old."""
    x = np.arange(0.3, 1.5, 0.1).reshape(3, 4)
    for _ in range(3):
        w = torch.tensor(x, requires_grad=True)
        base = w * 1.5
        view = base[1:]
        base.mul_(2)
        turned, row = view.t(), view[0]
        base.mul_(0.5)
        again = turned[1:].t()
        loss = (row * row).sum() + again.sin().sum() + (base * base).sum()
        for node in graph(loss.grad_fn):
            for behind, _ in node.next_functions:
                if behind is not None and "AccumulateGrad" not in behind.name():
                    assert behind.sequence < node.sequence, (behind, node)
        loss.backward()
        expected = 2 * 1.5 * 1.5 * x
        expected[1] += 2 * 1.5 * 1.5 * x[1]
        expected[1:, 1:] += 1.5 * np.cos(1.5 * x[1:, 1:])
        assert np.allclose(w.grad.numpy(), expected, rtol=1e-12)
