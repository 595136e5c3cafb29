"""The version, written once: `pyproject.toml` and `flambeau.__version__` both read it here."""

__version__ = "0.1.0"
