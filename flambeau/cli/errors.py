"""What the user can put right, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input. The command prints it as one line and exits with a non-zero status, without a traceback."""

    def line(self) -> str:
        """Return the message in one line; of an error that came from a loader worker, the original's."""
        lines = [line.strip() for line in str(self).splitlines() if line.strip()]
        if not lines:
            return type(self).__name__
        message = lines[-1] if lines[0].startswith("Caught ") else " ".join(lines)
        return message.removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")


class Interrupted(Exception):
    """Ctrl-C, after what was to be saved is saved."""


@contextmanager
def as_user_error(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of the given kinds into a UserError that begins with `what`."""
    try:
        yield
    except kinds as error:
        raise UserError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return an exception's text in one line, or its type where it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
