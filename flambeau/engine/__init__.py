"""WHEN and WHERE ops run: recorded, fused, compiled and launched. `docs/architecture.md` follows one op through it.

value, record, execute     what tensors are made of; calls recorded and matched; the seam that tensors call
realize, program           what is pending is run: by the references (`reference`), or as a compiled program
stretch                    an optimizer's step as one event of a recording
graph, plan                what passes from the recorder to the scheduler, and from there to the runtime
schedule/                  GROUPING: fusion, order, memory
kernel/                    HOW: kernels, written as LLVM IR
runtime/                   WHERE: machine code, threads, memory
log, watching, listing     for people: a log, an eye on what runs, recordings and plans as text
"""
