"""Resolving the names of the public-use table in Flambeau."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a script

import flambeau  # noqa: E402
import flambeau.vision  # noqa: E402, F401
from flambeau import nn  # noqa: E402
from flambeau.compat import place_of  # noqa: E402

TABLE = Path(os.environ.get("FLAMBEAU_SHARED", ROOT.parent / "shared")) / "api" / "public_use.tsv"

# What the table took for a tensor or a module, from code that calls something else by that name.
INSTANCES = {"Tensor.values": "a dict's values()", "Tensor.name": "tensors have a name, usually None"}


def table() -> list[tuple[str, int]]:
    """Names with the number of repositories that use them."""
    with TABLE.open() as file:
        return [(row["name"], int(row["repositories"])) for row in csv.DictReader(file, delimiter="\t")]


def resolve(name: str) -> Any:
    """The object of a dotted name; AttributeError or ImportError if there is none."""
    owner, _, rest = name.partition(".")
    kinds = {"Tensor": [flambeau.Tensor], "Module": [nn.Module], "Tensor|Module": [flambeau.Tensor, nn.Module]}
    if owner in kinds:
        return [_attribute(kind, rest) for kind in kinds[owner]]
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        place = place_of(".".join(parts[:cut]))
        try:
            found: Any = importlib.import_module(place) if place else None
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def _attribute(kind: type, name: str) -> Any:
    made = flambeau.zeros(1) if kind is flambeau.Tensor else nn.Linear(1, 1)
    if hasattr(kind, name) or hasattr(made, name) or name in kind.__annotations__:
        return getattr(kind, name, None)
    raise AttributeError(f"{kind.__name__}.{name}")


def works(name: str) -> bool:
    try:
        resolve(name)
    except (AttributeError, ImportError):
        return False
    return True


def share(least: int, most: int | None = None) -> tuple[int, int, list[str]]:
    """How many names of so many repositories resolve, of how many, and which do not."""
    names = [n for n, count in table() if count >= least and (most is None or count <= most)]
    missing = [n for n in names if not works(n)]
    return len(names) - len(missing), len(names), missing


if __name__ == "__main__":
    for least, most in ((5, None), (3, None), (2, None), (1, None)):
        found, total, missing = share(least, most)
        print(f"repositories >= {least}: {found} of {total} ({found / total:.1%})")
    print("\n".join(share(2)[2]))
