"""Synthetic data of the right shapes: the same numbers on both sides, since the random streams are PyTorch's."""

from __future__ import annotations

from typing import Any

BATCHES = 8  # how many batches a training cycles through


def images(torch: Any, batch: int, channels: int = 3, size: int = 32, classes: int = 10) -> list[Any]:
    """Batches of normally distributed images with labels drawn at random."""
    return [(torch.randn(batch, channels, size, size), torch.randint(0, classes, (batch,))) for _ in range(BATCHES)]


def digits(torch: Any, batch: int) -> list[Any]:
    """Batches in the shape of MNIST: grey levels between 0 and 1."""
    return [(torch.rand(batch, 1, 28, 28), torch.randint(0, 10, (batch,))) for _ in range(BATCHES)]


def tokens(torch: Any, vocabulary: int, length: int) -> Any:
    """A text whose next token depends on the last one: four successors each, so that there is something to learn."""
    follow = torch.randint(vocabulary, (vocabulary, 4)).tolist()
    text = [0]
    for choice in torch.randint(4, (length - 1,)).tolist():
        text.append(follow[text[-1]][choice])
    return torch.tensor(text)
