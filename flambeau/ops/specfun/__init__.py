"""Special functions in vectorised NumPy, in double precision: what `ops.special` describes as ops.

Each function takes and gives float64 arrays (`double` adapts it to other precisions). No house imports.
"""
