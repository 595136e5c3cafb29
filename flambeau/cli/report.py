"""What a run shows at its end: the table of accuracies, the curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PLOT_HINT = "no pictures: matplotlib is not installed (pip install 'flambeau[plot]')"
MOST_LABELS = 30  # classes beyond which a confusion matrix's axes show no names


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, count: int) -> np.ndarray:
    """Return a (count, count) matrix of how many images of class i were taken for class j."""
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def class_table(matrix: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return images, correct ones, accuracy and precision of each class (None where there are no images)."""
    images, predicted, correct = matrix.sum(1), matrix.sum(0), matrix.diagonal()
    return [
        {
            "class": name,
            "images": int(images[i]),
            "correct": int(correct[i]),
            "accuracy": float(correct[i] / images[i]) if images[i] else None,
            "precision": float(correct[i] / predicted[i]) if predicted[i] else None,
        }
        for i, name in enumerate(classes)
    ]


def format_table(rows: Sequence[dict[str, Any]], matrix: np.ndarray) -> str:
    """Lay the class table out as text, with the overall accuracy as its last line."""
    width = max(len("overall"), *(len(row["class"]) for row in rows))
    rule = "-" * (width + 42)
    lines = [f"{'class':<{width}}  {'images':>8}  {'correct':>8}  {'accuracy':>9}  {'precision':>9}", rule]
    for row in rows:
        lines.append(
            f"{row['class']:<{width}}  {row['images']:>8}  {row['correct']:>8}  "
            f"{_percent(row['accuracy']):>9}  {_percent(row['precision']):>9}"
        )
    total, correct = int(matrix.sum()), int(matrix.trace())
    lines += [rule, f"{'overall':<{width}}  {total:>8}  {correct:>8}  {_percent(correct / total):>9}"]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def can_plot() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss and accuracy over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, label in (("train", "training"), ("val", "validation")):
            if f"{part}_{name}" in history[0]:
                axes.plot(epochs, [row[f"{part}_{name}"] for row in history], marker=".", label=label)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix; shades are shares of the true class, numbers are images."""
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(14.0, 3.5 + 0.45 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class", title="confusion matrix of the test images")
    if count <= MOST_LABELS:
        axes.set_xticks(range(count), classes, rotation=45, ha="right")
        axes.set_yticks(range(count), classes)
        for (i, j), number in np.ndenumerate(matrix):
            if number:
                shade = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, str(number), ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class")
    figure.savefig(path, dpi=120)
