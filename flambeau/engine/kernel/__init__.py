"""HOW: kernels as loop nests over scalars and vectors, written in Python, emitted as LLVM IR. In the order of reading:

types, emit                the types of LLVM; the emitter, which writes a kernel with Python as its macro language
target                     the machine that kernels are written for
scalars, vecmath*, whole   what a lowering does to elements; mathematical functions; division of integers
coefficients               of special functions: kernels and NumPy references share them
nest, loops, reductions    fused elementwise work and reductions: as data, and as code
contract/ conv/ pool/      products and attention; convolutions; pools
move*, gather*             copies, joins, resampling; reading and writing at indices
recur*, scan               recurrent layers; running sums
listing                    a nest as text, for people
"""
