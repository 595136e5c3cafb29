"""`flambeau train`: from the options to a trained, tested and documented network."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from flambeau.cli import randomness, report
from flambeau.cli.checkpoint import Checkpoint, read_checkpoint
from flambeau.cli.data import Splits, data_format, load_splits
from flambeau.cli.errors import Interrupted, UserError, as_user_error, reason
from flambeau.cli.folder import LOG, append_metrics, log_to_terminal, log_traceback, open_folder, read_metrics
from flambeau.cli.models import build_model, choose_preprocessing
from flambeau.cli.settings import TrainSettings, add_train_arguments, settings_from
from flambeau.cli.trainer import Trainer, evaluate
from flambeau.engine import execute
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
    execute.repeatably()
    source, settings = _settled(args)
    log_to_terminal()
    checkpoint = None if source is None else read_checkpoint(source)
    trainer, splits = prepare(settings, checkpoint)
    with as_user_error(f"cannot use {settings.folder}", OSError):
        open_folder(settings.folder, trainer.progress.epoch, source)
    announce(trainer, splits)
    try:
        trainer.run()
        test_best(settings, splits)
    except (UserError, Interrupted):
        raise
    except Exception as error:  # in the user's network, out of memory, a worker that died
        log_traceback()
        log = settings.folder / LOG
        raise UserError(f"{type(error).__name__}: {reason(error)} (the traceback is in {log})") from error
    return 0


def _settled(args: argparse.Namespace) -> tuple[Path | None, TrainSettings]:
    """Return the checkpoint to continue from, if any, and the settings of the run."""
    given = dict(vars(args))
    resume = given.pop("resume")
    if resume is None:
        return None, settings_from(given)
    path = Path(resume) if resume else settings_from(given).folder / "last.pt"
    if path.is_dir():
        path = path / "last.pt"
    given.setdefault("out", str(path.parent))
    return path, settings_from(given, read_checkpoint(path).settings)


def prepare(settings: TrainSettings, checkpoint: Checkpoint | None) -> tuple[Trainer, Splits]:
    """Open the data, build the network and the trainer, and put a checkpoint's state back."""
    preprocessing = choose_preprocessing(settings.model, data_format(settings.data), settings.image_size)
    splits = load_splits(settings, preprocessing)
    if checkpoint is not None and splits.classes != checkpoint.classes:
        raise UserError(f"cannot resume: the classes of {settings.data} are no longer those of the run")
    randomness.seed_everything(settings.seed)
    model = build_model(settings.model, len(splits.classes), preprocessing)
    validation = None if splits.validation is None else evaluation_loader(splits.validation, settings)
    trainer = Trainer(
        settings, model, splits.classes, preprocessing, training_loader(splits.train, settings), validation
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
    return trainer, splits


def announce(trainer: Trainer, splits: Splits) -> None:
    """Say what is trained on what."""
    counts = [0 if part is None else len(part) for part in (splits.train, splits.validation, splits.test)]  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in trainer.model.parameters())
    log.info(
        f"{trainer.settings.data}: {counts[0]} images to train, {counts[1]} to validate, {counts[2]} to test, "
        f"{len(splits.classes)} classes"
    )
    log.info(f"{trainer.settings.model}: {parameters:,} parameters, images of shape {trainer.preprocessing.shape}")
    progress = trainer.progress
    if progress.epoch or progress.steps:
        log.info(f"resuming after epoch {progress.epoch}, step {progress.steps}")


def training_loader(dataset: Dataset, settings: TrainSettings) -> DataLoader:
    size = settings.batch_size
    # A single image at the end has no variance, which batch normalisation would refuse.
    alone = 1 < size < len(dataset) and len(dataset) % size == 1  # type: ignore[arg-type]
    return DataLoader(dataset, size, shuffle=True, num_workers=settings.workers, drop_last=alone)


def evaluation_loader(dataset: Dataset, settings: TrainSettings) -> DataLoader:
    # A generator of its own, so that validation takes nothing from the random stream that training uses.
    return DataLoader(
        dataset, 2 * settings.batch_size, num_workers=settings.workers, generator=Generator().manual_seed(0)
    )


def test_best(settings: TrainSettings, splits: Splits) -> None:
    """Test the best network; print the table, write test.json, the last line of metrics.jsonl and the pictures."""
    folder = settings.folder
    best = folder / "best.pt"
    checkpoint = read_checkpoint(best if best.exists() else folder / "last.pt")
    result = evaluate(checkpoint.build_model(), evaluation_loader(splits.test, settings), CrossEntropyLoss())
    matrix = report.confusion_matrix(result.labels, result.predictions, len(splits.classes))
    rows = report.class_table(matrix, splits.classes)
    print(f"\nThe best network (epoch {checkpoint.training['progress']['best_epoch']}) on the test images:\n")
    print(report.format_table(rows, matrix))
    summary = {"test_loss": result.loss, "test_accuracy": result.accuracy, "classes": rows}
    (folder / "test.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    append_metrics(folder, summary)
    if not settings.plots:
        return
    if not report.can_plot():
        log.warning(report.PLOT_HINT)
        return
    history = [row for row in read_metrics(folder) if "epoch" in row]
    report.plot_curves(history, folder / "curves.png")
    report.plot_confusion(matrix, splits.classes, folder / "confusion.png")
    print(f"\nPictures: {folder / 'curves.png'}, {folder / 'confusion.png'}")
