"""`flambeau predict`: the likeliest classes of image files, from a checkpoint alone."""

from __future__ import annotations

import argparse
import json
import sys

from flambeau import ops
from flambeau.autograd import no_grad
from flambeau.cli.checkpoint import read_checkpoint
from flambeau.cli.errors import UserError
from flambeau.cli.images import open_image
from flambeau.cli.settings import positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.pt or last.pt of a training run")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument("--top", type=positive_int, default=3, metavar="K", help="classes to show (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def main(args: argparse.Namespace) -> int:
    checkpoint = read_checkpoint(args.checkpoint)
    model = checkpoint.build_model()
    transform = checkpoint.preprocessing.transform()
    top = min(args.top, len(checkpoint.classes))
    failed = 0
    for path in args.images:
        try:
            image = open_image(path)
        except UserError as error:  # the other images still get their answer
            print(f"flambeau predict: error: {error.line()}", file=sys.stderr)
            failed += 1
            continue
        with no_grad():
            shares = ops.softmax(model(transform(image).unsqueeze(0)), 1)[0]
        values, numbers = shares.topk(top)
        found = [(checkpoint.classes[i], p) for i, p in zip(numbers.tolist(), values.tolist(), strict=True)]
        if args.json:
            predictions = [{"class": name, "probability": p} for name, p in found]
            print(json.dumps({"image": path, "predictions": predictions}))
        else:
            print(f"{path}: " + "  ".join(f"{name} {p:.2%}" for name, p in found))
    return 1 if failed else 0
