"""A run's folder: the log, the metrics, and what is left in it by an earlier run."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flambeau.cli.errors import as_user_error

log = logging.getLogger("flambeau")

LOG = "train.log"
METRICS = "metrics.jsonl"
RESULTS = ("last.pt", "best.pt", METRICS, "test.json", "curves.png", "confusion.png")


class _TerminalHandler(logging.StreamHandler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def log_to_terminal() -> None:
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers[:] = [_TerminalHandler()]


def open_folder(folder: Path, epochs: int, source: Path | None) -> None:
    """Make the folder of a run, and its log.

    For a new run (no `source`) what an earlier one left is removed. For one that continues from the checkpoint
    `source`, the metrics after its `epochs` are dropped, as they will come again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(folder / LOG, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(file)
    if source is None:
        if (folder / "last.pt").exists():
            log.info(f"{folder} holds an earlier run, which this one replaces (--resume would continue it)")
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        return
    if source.parent.resolve() != folder.resolve():
        for name in ("best.pt", METRICS):
            if (source.parent / name).exists():
                shutil.copy(source.parent / name, folder / name)
    kept = [row for row in read_metrics(folder) if row.get("epoch", epochs + 1) <= epochs]
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def log_traceback() -> None:
    """Write the exception that is being handled to the log file only."""
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "failed", (), sys.exc_info()))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    path = folder / METRICS
    if not path.exists():
        return []
    with as_user_error(f"{path} is damaged", ValueError):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
