"""Whether ops record history: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`. Per thread."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from flambeau.engine.execute import thread


class _State(threading.local):
    """The switches.

    `regime` is one object for equal settings of those that decide what a call does, so that one look tells whether they
    are what they were. The thread's recorder knows it as well.
    """

    grad = True
    inference = False
    anomaly = False
    anomaly_check_nan = True
    saved_hooks: tuple = ()
    autocast: Any = None  # the dtype that `amp.autocast` narrows products to
    regime = (True, False, False, False, None)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        now = (self.grad, self.inference, self.anomaly, bool(self.saved_hooks), self.autocast)
        regime = _regimes.setdefault(now, now)
        super().__setattr__("regime", regime)
        if thread.recorder is not None:
            thread.recorder.regime = regime

    @property
    def plain(self) -> bool:
        """Whether calls do nothing but compute and, with `grad`, keep their history."""
        return not (self.inference or self.anomaly or self.saved_hooks)


_regimes = {_State.regime: _State.regime}


state = _State()


class _Switch:
    """A context manager, also usable as a decorator, that sets fields of the thread's state and puts them back."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._before: list[Any] = []

    def __enter__(self) -> Any:
        self._before.append({name: getattr(state, name) for name in self._fields})
        for name, value in self._fields.items():
            setattr(state, name, value)
        return None

    def __exit__(self, *exc: object) -> None:
        for name, value in self._before.pop().items():
            setattr(state, name, value)

    def clone(self) -> _Switch:
        fresh = _Switch.__new__(type(self))
        fresh._fields, fresh._before = self._fields, []
        return fresh

    def __call__(self, function: Callable) -> Callable:
        if inspect.isclass(function):
            function.__init__ = self(function.__init__)
            return function
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, function: Callable) -> Callable:
        """The switch holds while the generator's own code runs, not while its caller's does."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            step: Callable = functools.partial(next, generator)
            while True:
                try:
                    with self.clone():
                        item = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield item
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = functools.partial(generator.send, sent)

        return wrapped


class no_grad(_Switch):
    """Ops inside record no history.

    >>> with no_grad():
    ...     is_grad_enabled()
    False
    """

    def __init__(self, function: Callable | None = None) -> None:
        super().__init__(grad=False)

    def __new__(cls, function: Callable | None = None) -> Any:
        if function is None:
            return super().__new__(cls)
        made = super().__new__(cls)
        made.__init__()  # type: ignore[misc]
        return made(function)

    def __enter__(self) -> None:
        self._before.append(state.grad)
        state.grad = self._fields["grad"]

    def __exit__(self, *exc: object) -> None:
        state.grad = self._before.pop()


class enable_grad(no_grad):
    """Ops inside record history, also within `no_grad`."""

    def __init__(self, function: Callable | None = None) -> None:
        _Switch.__init__(self, grad=True)


class set_grad_enabled(_Switch):
    """Sets grad mode at once; as a context manager puts it back."""

    def __init__(self, mode: bool) -> None:
        super().__init__(grad=bool(mode))
        self._previous = state.grad
        state.grad = bool(mode)

    def __enter__(self) -> None:
        state.grad = self._fields["grad"]

    def __exit__(self, *exc: object) -> None:
        state.grad = self._previous

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self._fields["grad"])

    def __call__(self, function: Callable) -> Callable:
        state.grad = self._previous
        return super().__call__(function)


class inference_mode(_Switch):
    """`no_grad` for code whose results never meet autograd."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__(**({"grad": False, "inference": True} if mode is not False else {"inference": False}))

    def __new__(cls, mode: Any = True) -> Any:
        made = super().__new__(cls)
        if callable(mode):
            made.__init__(True)  # type: ignore[misc]
            return made(mode)
        return made


def is_grad_enabled() -> bool:
    return state.grad


def is_inference_mode_enabled() -> bool:
    return state.inference
