"""WHERE: machine code in memory and on disk, threads, and the memory that programs run in."""
