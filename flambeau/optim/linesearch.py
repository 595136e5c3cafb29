"""Line search by the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6), for L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.tensors import Tensor

DECREASE, CURVATURE = 1e-4, 0.9  # the constants of the two conditions


class Point(NamedTuple):
    """A step length along the direction, with loss, gradient and directional derivative there."""

    t: Any
    loss: float
    grad: Tensor
    slope: Any


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, kept within `bounds` (or between them)."""
    low, high = bounds if bounds is not None else (a.t, b.t) if a.t <= b.t else (b.t, a.t)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if square < 0:
        return (low + high) / 2.0
    d2 = square.sqrt() if isinstance(square, Tensor) else square**0.5
    if a.t <= b.t:
        best = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        best = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(best, low), high)


def strong_wolfe(
    objective: Callable[[Any], tuple[float, Tensor]], start: Point, t: Any, direction: Tensor,
    tolerance_change: float, max_iter: int,
) -> tuple[Point, int]:  # fmt: skip
    """A point along `direction` that satisfies the strong Wolfe conditions, and how often `objective` was called.

    Args:
        objective: loss and gradient at a step length.
        start: the point at length 0.
        t: the first length tried.
        max_iter: the most calls after the first.
    """
    search = _Search(objective, start, direction, max_iter)
    bracket, done = search.bracket(t)
    width = direction.abs().max()
    return search.zoom(bracket, done, width, tolerance_change), search.calls


class _Search:
    def __init__(self, objective: Callable, start: Point, direction: Tensor, max_iter: int) -> None:
        self.objective, self.start, self.direction, self.max_iter = objective, start, direction, max_iter
        self.calls = self.iteration = 0

    def at(self, t: Any) -> Point:
        loss, grad = self.objective(t)
        self.calls += 1
        return Point(t, loss, grad, grad.dot(self.direction))

    def too_high(self, point: Point) -> bool:
        return bool(point.loss > self.start.loss + DECREASE * point.t * self.start.slope)

    def flat_enough(self, point: Point) -> bool:
        return bool(abs(point.slope) <= -CURVATURE * self.start.slope)

    def bracket(self, t: Any) -> tuple[list[Point], bool]:
        """Points that enclose an acceptable one, or the one, and whether it is found."""
        before, new = self.start, self.at(t)
        while self.iteration < self.max_iter:
            if self.too_high(new) or (self.iteration > 1 and new.loss >= before.loss):
                return [before, new], False
            if self.flat_enough(new):
                return [new], True
            if new.slope >= 0:
                return [before, new], False
            t = cubic_minimum(before, new, (new.t + 0.01 * (new.t - before.t), new.t * 10))
            before, new = new, self.at(t)
            self.iteration += 1
        return [self.start, new], False

    def zoom(self, bracket: list[Point], done: bool, width: Any, tolerance_change: float) -> Point:
        """Narrow the bracket until the point is found, the bracket is tiny or the calls are used up."""
        low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
        stuck = False
        while not done and self.iteration < self.max_iter:
            if abs(bracket[1].t - bracket[0].t) * width < tolerance_change:
                break
            t, stuck = _inside(bracket, cubic_minimum(bracket[0], bracket[1]), stuck)
            new = self.at(t)
            self.iteration += 1
            if self.too_high(new) or new.loss >= bracket[low].loss:
                bracket[high] = new
                low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
                continue
            if self.flat_enough(new):
                done = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
        return bracket[low]


def _inside(bracket: list[Point], t: Any, stuck: bool) -> tuple[Any, bool]:
    """Move a trial away from the ends of the bracket when it came close to one twice, or lies on one."""
    low, high = sorted((bracket[0].t, bracket[1].t))
    margin = 0.1 * (high - low)
    if min(high - t, t - low) >= margin:
        return t, False
    if stuck or t >= high or t <= low:
        return (high - margin if abs(t - high) < abs(t - low) else low + margin), False
    return t, True
