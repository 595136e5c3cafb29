"""HOW: kernels as loop nests over scalars and vectors, written in Python, emitted as LLVM IR."""
