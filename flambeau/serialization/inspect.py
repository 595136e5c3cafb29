"""Looking at what a checkpoint names, without building anything."""

from __future__ import annotations

import pickletools

from flambeau.serialization.archive import MAGIC, ArchiveReader
from flambeau.serialization.errors import CheckpointError
from flambeau.serialization.files import FileLike, reading
from flambeau.serialization.weights_only import allowed_names

_NOT_A_CHECKPOINT = "Expected input to be a checkpoint returned by torch.save"


def get_unsafe_globals_in_checkpoint(f: FileLike) -> list[str]:
    """The names in a checkpoint that `load(weights_only=True)` would refuse.

    Raises ValueError for a file in the format before PyTorch 1.6.
    """
    with reading(f) as file:
        start = file.tell()
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(_NOT_A_CHECKPOINT)
        file.seek(start)
        archive = ArchiveReader(file)
        if "constants.pkl" in archive:
            raise ValueError(f"{_NOT_A_CHECKPOINT} but got a torchscript checkpoint")
        return sorted(_globals(archive.read("data.pkl").tobytes()) - allowed_names())


def _globals(data: bytes) -> set[str]:
    found: set[str] = set()
    memo: dict[int, str] = {}
    texts: list[str] = []  # the strings pushed so far: STACK_GLOBAL takes the last two
    fresh = False  # whether the top of the stack is the last of them
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                found.add(str(argument).replace(" ", ".", 1))
            elif opcode.name == "STACK_GLOBAL":
                found.add(".".join(texts[-2:]))
            elif opcode.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if argument is None else argument] = texts[-1] if fresh else ""
                continue
            fresh = isinstance(argument, str) or opcode.name in ("BINGET", "LONG_BINGET")
            if fresh:
                texts.append(argument if isinstance(argument, str) else memo.get(argument or 0, ""))
    except ValueError as error:
        raise CheckpointError(f"the pickle is corrupt: {str(error)[:200]}") from error
    return found
