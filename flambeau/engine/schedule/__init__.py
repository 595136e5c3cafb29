"""GROUPING: from a recorded graph to a plan of kernel launches: fusion, order, memory. In the order of reading:

lowering      the three forms of an op record's `lower` field
expressions   the tensor expressions that composite lowerings are written with
calls         a call of the graph as expressions
spaces        windows on memory, and the axes and order of reductions
layouts       which images lie channel by channel, before anything is fused
groups        what one kernel computes together: the rules of joining
planner       the walk over the graph that puts expressions into groups, and writes into memory
memory        stretches of memory, and the arena
opaque        steps that bring their own launches, or run on the host
finish        what is dropped, absorbed by products (epilogues), turned (turning) and built (build) in the end
"""
