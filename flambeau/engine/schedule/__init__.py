"""GROUPING: from a recorded graph to a plan of kernel launches: fusion, order, memory."""
