"""`flambeau eval`: the accuracy of a checkpoint, overall and for each class."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from flambeau.cli import report
from flambeau.cli.checkpoint import read_checkpoint
from flambeau.cli.data import load_test
from flambeau.cli.errors import UserError, as_user_error
from flambeau.cli.settings import settings_from
from flambeau.cli.train import evaluation_loader
from flambeau.cli.trainer import evaluate
from flambeau.nn import CrossEntropyLoss


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.pt or last.pt of a training run")
    parser.add_argument("--data", default=argparse.SUPPRESS, help="a known dataset or a folder (default: as trained)")
    parser.add_argument("--data-root", default=argparse.SUPPRESS, metavar="DIR", help="where datasets lie")
    parser.add_argument("--workers", type=int, default=argparse.SUPPRESS, metavar="N", help="loader processes")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--confusion", metavar="PNG", help="draw the confusion matrix into this file")


def main(args: argparse.Namespace) -> int:
    checkpoint = read_checkpoint(args.checkpoint)
    own = {key: value for key, value in vars(args).items() if key in ("data", "data_root", "workers")}
    settings = settings_from({**checkpoint.settings, **own})
    dataset = load_test(settings, checkpoint.preprocessing, checkpoint.classes, whole="data" in own)
    model = checkpoint.build_model()
    result = evaluate(model, evaluation_loader(dataset, settings), CrossEntropyLoss())
    matrix = report.confusion_matrix(result.labels, result.predictions, len(checkpoint.classes))
    rows = report.class_table(matrix, checkpoint.classes)
    if args.json:
        print(json.dumps({"loss": result.loss, "accuracy": result.accuracy, "classes": rows}, indent=2))
    else:
        print(report.format_table(rows, matrix))
    if args.confusion:
        if not report.can_plot():
            raise UserError(report.PLOT_HINT)
        with as_user_error(f"cannot write {args.confusion}", OSError, ValueError):
            report.plot_confusion(matrix, checkpoint.classes, Path(args.confusion))
    return 0
