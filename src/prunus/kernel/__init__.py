"""Sparse layers that take the time of what they keep: machine code out of numba, on torch's own threads."""
