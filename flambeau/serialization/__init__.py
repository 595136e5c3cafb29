"""Saving and loading: `flambeau.save`, `flambeau.load` and what `torch.serialization` names beside them.

`writing.py` and `reading.py` are the two ends. Between them: `archive.py` (the ZIP container), `legacy.py` (the format
before it), `pickler.py` and `weights_only.py` (the object's pickle), `names.py` (PyTorch's names for our objects).
"""

from flambeau.serialization.errors import CheckpointError, TruncatedError
from flambeau.serialization.inspect import get_unsafe_globals_in_checkpoint
from flambeau.serialization.locations import default_restore_location, location_tag, register_package
from flambeau.serialization.reading import load
from flambeau.serialization.safe_globals import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from flambeau.serialization.settings import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from flambeau.serialization.writing import DEFAULT_PROTOCOL, save

__all__ = [
    "DEFAULT_PROTOCOL",
    "CheckpointError",
    "LoadEndianness",
    "TruncatedError",
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
]
