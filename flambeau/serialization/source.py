"""Reading a pickle's bytes with a bound on everything: no length in the file can ask for more than the file has."""

from __future__ import annotations

from typing import IO

from flambeau.serialization.errors import CheckpointError, TruncatedError

_LONGEST_LINE = 4096  # a module path or a class name


class Source:
    """A seekable binary file from its present position on, read in order."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        at = file.tell()
        self.size = self.left = file.seek(0, 2) - at
        file.seek(at)

    def read(self, n: int) -> bytes:
        """Exactly `n` bytes, or TruncatedError before anything is allocated."""
        if not 0 <= n <= self.left:
            raise TruncatedError("Ran out of input: the file is empty or truncated")
        data = self._file.read(n)
        if len(data) != n:
            raise TruncatedError("Ran out of input: the file is empty or truncated")
        self.left -= n
        return data

    def line(self) -> str:
        """Text up to the next newline."""
        data = self._file.readline(_LONGEST_LINE)
        self.left -= len(data)
        if not data.endswith(b"\n"):
            raise CheckpointError("a name in the pickle is unterminated or too long")
        try:
            return data[:-1].decode()
        except UnicodeDecodeError:
            raise CheckpointError("a name in the pickle is not text") from None
