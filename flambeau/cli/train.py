"""`flambeau train`: from the options to a trained, tested and documented network."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flambeau.cli import randomness, report
from flambeau.cli.checkpoint import Checkpoint, read_checkpoint
from flambeau.cli.data import Splits, data_format, load_splits
from flambeau.cli.errors import UserError, as_user_error
from flambeau.cli.models import build_model, choose_preprocessing
from flambeau.cli.settings import TrainSettings, add_train_arguments, settings_from
from flambeau.cli.trainer import Trainer, append_json_line, evaluate
from flambeau.nn import CrossEntropyLoss
from flambeau.random import Generator
from flambeau.utils.data import DataLoader, Dataset

log = logging.getLogger("flambeau")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_train_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="CHECKPOINT",
        help="continue a run exactly: from a checkpoint, or from last.pt in the --out folder",
    )


def main(args: argparse.Namespace) -> int:
    checkpoint, settings = _settled(args)
    folder = settings.folder
    with as_user_error(f"cannot use {folder}", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        start_log(folder / "train.log")
    if checkpoint is None:
        _refuse_to_overwrite(folder)
    trainer, splits = prepare(settings, checkpoint)
    trainer.run()
    test_best(settings, splits)
    return 0


def _settled(args: argparse.Namespace) -> tuple[Checkpoint | None, TrainSettings]:
    """Return the checkpoint to continue from, if any, and the settings of the run."""
    given = dict(vars(args))
    resume = given.pop("resume")
    if resume is None:
        return None, settings_from(given)
    path = Path(resume) if resume else settings_from(given).folder / "last.pt"
    if path.is_dir():
        path = path / "last.pt"
    checkpoint = read_checkpoint(path)
    given.setdefault("out", str(path.parent))
    return checkpoint, settings_from(given, checkpoint.settings)


def _refuse_to_overwrite(folder: Path) -> None:
    if (folder / "last.pt").exists():
        log.info(f"{folder} holds an earlier run, which this one replaces (--resume would continue it)")
    for name in ("last.pt", "best.pt", "metrics.jsonl", "test.json", "curves.png", "confusion.png"):
        (folder / name).unlink(missing_ok=True)


def prepare(settings: TrainSettings, checkpoint: Checkpoint | None) -> tuple[Trainer, Splits]:
    """Open the data, build the network and the trainer, and put a checkpoint's state back."""
    preprocessing = choose_preprocessing(settings.model, data_format(settings.data), settings.image_size)
    splits = load_splits(settings, preprocessing)
    if checkpoint is not None and splits.classes != checkpoint.classes:
        raise UserError(f"cannot resume: the classes of {settings.data} are no longer those of the run")
    randomness.seed_everything(settings.seed)
    model = build_model(settings.model, len(splits.classes), preprocessing)
    trainer = Trainer(
        settings,
        model,
        splits.classes,
        preprocessing,
        DataLoader(
            splits.train,
            settings.batch_size,
            shuffle=True,
            num_workers=settings.workers,
            persistent_workers=False,
        ),
        None if splits.validation is None else evaluation_loader(splits.validation, settings),
    )
    parameters = sum(p.numel() for p in model.parameters())
    log.info(
        f"{settings.data}: {len(splits.train)} images to train, "  # type: ignore[arg-type]
        f"{len(splits.validation) if splits.validation else 0} to validate, "  # type: ignore[arg-type]
        f"{len(splits.test)} to test, {len(splits.classes)} classes"  # type: ignore[arg-type]
    )
    log.info(f"{settings.model}: {parameters:,} parameters, images of shape {preprocessing.shape}")
    if checkpoint is not None:
        trainer.restore(checkpoint)
        _forget_later_metrics(settings.folder / "metrics.jsonl", trainer.progress.epoch)
        log.info(f"resuming after epoch {trainer.progress.epoch}, step {trainer.progress.steps}")
    return trainer, splits


def evaluation_loader(dataset: Dataset, settings: TrainSettings) -> DataLoader:
    # A generator of its own, so that validation takes nothing from the random stream that training uses.
    return DataLoader(
        dataset, max(settings.batch_size, 256), num_workers=settings.workers, generator=Generator().manual_seed(0)
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with as_user_error(f"{path} is damaged", ValueError):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _forget_later_metrics(path: Path, epochs: int) -> None:
    """Drop what was written after the checkpoint that a run continues from: it will be written again."""
    kept = [row for row in read_metrics(path) if row.get("epoch", epochs + 1) <= epochs]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def test_best(settings: TrainSettings, splits: Splits) -> None:
    """Test the best network; print the table, write test.json, the last line of metrics.jsonl and the pictures."""
    folder = settings.folder
    checkpoint = read_checkpoint(folder / "best.pt")
    result = evaluate(checkpoint.build_model(), evaluation_loader(splits.test, settings), CrossEntropyLoss())
    matrix = report.confusion_matrix(result.labels, result.predictions, len(splits.classes))
    rows = report.class_table(matrix, splits.classes)
    print(f"\nThe best network (epoch {checkpoint.training['progress']['best_epoch']}) on the test images:\n")
    print(report.format_table(rows, matrix))
    summary = {"test_loss": result.loss, "test_accuracy": result.accuracy, "classes": rows}
    (folder / "test.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    append_json_line(folder / "metrics.jsonl", summary)
    if not settings.plots:
        return
    if not report.can_plot():
        log.warning(report.PLOT_HINT)
        return
    history = [row for row in read_metrics(folder / "metrics.jsonl") if "epoch" in row]
    report.plot_curves(history, folder / "curves.png")
    report.plot_confusion(matrix, splits.classes, folder / "confusion.png")
    print(f"\nPictures: {folder / 'curves.png'}, {folder / 'confusion.png'}")


class _TerminalHandler(logging.StreamHandler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def start_log(path: Path) -> None:
    """Send log lines to the terminal and, with the time, to a file."""
    log.setLevel(logging.INFO)
    log.propagate = False
    terminal, file = _TerminalHandler(), logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers[:] = [terminal, file]
