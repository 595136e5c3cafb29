"""Utilities around training: data loading, model summaries and TensorBoard logs (PyTorch's ``torch.utils``)."""

from flambeau.utils import checkpoint, data
from flambeau.utils.summary import ModelSummary, summary

__all__ = ["ModelSummary", "checkpoint", "data", "summary"]
