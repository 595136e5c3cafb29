"""`DistributedDataParallel` comes with the distributed package; until then it says so."""

from __future__ import annotations

from typing import Any

from flambeau.errors import NotSupportedError
from flambeau.nn.modules.module import Module


class DistributedDataParallel(Module):
    """Not in this release."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise NotSupportedError(
            "DistributedDataParallel is not in this release of Flambeau (see docs/differences.md): train in one "
            "process, without init_process_group"
        )
