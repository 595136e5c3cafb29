"""Checkpoints of `flambeau train`: everything that testing, predicting and exact resuming need, in one file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.cli.errors import UserError, as_user_error, reason
from flambeau.cli.images import Preprocessing
from flambeau.cli.models import build_model
from flambeau.nn import Module
from flambeau.serialization import load, save

FORMAT = "flambeau-train-1"


@dataclass
class Checkpoint:
    """`training` holds what only resuming needs: optimizer, schedule, progress and random states."""

    settings: dict[str, Any]
    classes: list[str]
    preprocessing: Preprocessing
    model: dict[str, Any]
    training: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the file atomically: a crash leaves the old one, or the new one."""
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "classes": self.classes,
            "preprocessing": self.preprocessing.to_dict(),
            "model": self.model,
            "training": self.training,
        }
        with as_user_error(f"cannot write {path}", OSError):
            save(content, path)

    def build_model(self) -> Module:
        """Build the network with the trained weights, in evaluation mode."""
        model = build_model(self.settings["model"], len(self.classes), self.preprocessing)
        with as_user_error(f"the weights do not fit --model {self.settings['model']}", RuntimeError):
            model.load_state_dict(self.model)
        return model.eval()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is ever run.

    Raises UserError for a file that is missing, damaged or something else.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the checkpoint in it, such as {path / 'best.pt'}")
    try:
        content = load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}") from None
    except Exception as error:  # whatever a damaged file leads to
        if refused := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            raise UserError(f"{path} was not written by `flambeau train`: it asks for {refused[1]}") from error
        raise UserError(f"{path} is not a readable checkpoint: {reason(error)}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} was not written by `flambeau train`")
    try:
        return Checkpoint(
            content["settings"],
            content["classes"],
            Preprocessing(**content["preprocessing"]),
            content["model"],
            content["training"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is an incomplete checkpoint: {reason(error)}") from error
