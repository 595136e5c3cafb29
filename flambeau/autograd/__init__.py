"""Derivatives: how ops record history, and how backward walks it. No formulas: those stand in `ops`."""
