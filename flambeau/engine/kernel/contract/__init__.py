"""Contractions: matrix products of every shape, as kernels over one register tile.

`product.py` describes a contraction by strides, `choose.py` says how a shape is best computed on this machine, and then
come the generators: `tile.py` the outer-product tile and `gemm.py` the loops around it, `pack.py` the panels it reads,
`dots.py` the products of rows that lie along the sum, `stream.py` and `far.py` a few rows by a matrix that is read once
(`waiting.py` has their sums meanwhile), `finish.py` what happens to a sum before it is stored.
`lower.py` goes from products to launches, `records.py` from op records to products. `attend.py`, `attend_back.py` are
attention, over the same tile, and `attention.py` its way from record to launches. Kernels take sizes and strides as
words: a few of them serve every shape.
"""
