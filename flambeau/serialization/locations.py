"""Where loaded storages go: `map_location` and the location tags of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.devices import device
from flambeau.serialization.errors import CheckpointError
from flambeau.storage import UntypedStorage

Location = Callable[[Any, str], Any] | device | str | dict[str, str] | None
Restore = Callable[[UntypedStorage, str], UntypedStorage]
_packages: list[tuple[int, Callable, Callable]] = []


def register_package(priority: int, tagger: Callable, deserializer: Callable) -> None:
    """Add a way to tag storages when saving and to place them when loading; smaller priorities are asked first.

    Args:
        tagger: takes a storage and gives its tag, or None.
        deserializer: takes a storage and a tag and gives the placed storage, or None.
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: Any) -> str:
    """The tag that says where a storage was saved from."""
    for _, tagger, _ in _packages:
        tag = tagger(storage)
        if tag:
            return tag
    raise RuntimeError(f"don't know how to determine data location of {type(storage).__name__}")


def default_restore_location(storage: Any, location: str) -> Any:
    """Place a storage where its tag says; RuntimeError where this machine has no such place."""
    for _, _, deserialize in _packages:
        found = deserialize(storage, location)
        if found is not None:
            return found
    raise CheckpointError(f"don't know how to restore data location of torch.UntypedStorage (tagged with {location})")


def _on_cpu(storage: Any, location: str) -> Any:
    return storage if location == "cpu" else None


def _on_cuda(storage: Any, location: str) -> None:
    if location.startswith("cuda"):
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. "
            "If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )


register_package(10, lambda storage: "cpu", _on_cpu)
register_package(20, lambda storage: None, _on_cuda)


def restorer(map_location: Location) -> Restore:
    """`map_location` as a function of a storage and its tag."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, tag: default_restore_location(storage, map_location.get(tag, tag))
    if isinstance(map_location, (str, bytes, device)):
        wanted = map_location.decode() if isinstance(map_location, bytes) else str(map_location)
        return lambda storage, tag: default_restore_location(storage, wanted)

    def restore(storage: UntypedStorage, tag: str) -> UntypedStorage:
        placed = map_location(storage, tag)
        return default_restore_location(storage, tag) if placed is None else placed

    return restore
