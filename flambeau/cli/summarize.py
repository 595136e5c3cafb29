"""`flambeau summary`: the layers of a network with their output shapes, parameters and multiply-adds."""

from __future__ import annotations

import argparse
from pathlib import Path

from flambeau.cli.checkpoint import read_checkpoint
from flambeau.cli.errors import UserError
from flambeau.cli.images import Preprocessing
from flambeau.cli.models import build_model
from flambeau.cli.settings import positive_int
from flambeau.utils.summary import summary

IMAGENET_SHAPE = (3, 224, 224)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="lenet, mlp, resnet18 ..., FILE.py:NAME, or a checkpoint")
    parser.add_argument(
        "--input-shape", type=_shape, metavar="C,H,W", help="shape of one image (default: 3,224,224 or as trained)"
    )
    parser.add_argument("--classes", type=positive_int, default=10, metavar="N", help="classes (default: 10)")
    parser.add_argument("--batch-size", type=positive_int, default=1, metavar="N", help="images (default: 1)")
    parser.add_argument("--depth", type=positive_int, default=None, metavar="N", help="levels of modules to show")


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form C,H,W") from None
    if min(channels, height, width) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has a dimension below 1")
    if height != width:
        raise argparse.ArgumentTypeError(f"{text!r}: images are square here")
    return channels, height, width


def main(args: argparse.Namespace) -> int:
    if Path(args.model).is_file() and ".py" not in args.model:
        checkpoint = read_checkpoint(args.model)
        model, shape = checkpoint.build_model(), checkpoint.preprocessing.shape
        if args.input_shape is not None and args.input_shape != shape:
            raise UserError(f"{args.model} was trained on images of shape {shape}")
    else:
        shape = args.input_shape or IMAGENET_SHAPE
        model = build_model(args.model, args.classes, Preprocessing(shape[1], shape[0], 0.0, 1.0))
    print(summary(model, input_shape=shape, batch_size=args.batch_size, depth=args.depth, verbose=0))
    return 0
