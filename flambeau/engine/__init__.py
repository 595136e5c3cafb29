"""WHEN and WHERE ops run. In this release every op runs at its call, through its NumPy reference (`execute.py`)."""
