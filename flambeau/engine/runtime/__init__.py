"""WHERE: machine code in memory and on disk, threads, and the memory that programs run in. In the order of reading:

launch         a table of launches: what a program runs in one native call
native, call   the native code that runs a table and shares its launches; how Python calls it
threads, cores the pool of workers; how many there are
jit, codegen   kernels to machine code: table and linker; LLVM
cache          object code on disk
allocator      the memory of values
peak           what the machine can reach, for reports
"""
