"""The loader's machinery: collate, fetch, workers and the way of a batch between processes."""

from flambeau.utils.data._utils import collate, containers, fetch, pool, transfer, worker

__all__ = ["collate", "containers", "fetch", "pool", "transfer", "worker"]
