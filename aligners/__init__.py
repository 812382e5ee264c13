"""Alignment methods, one file each, readable in the order of the paper's pseudocode."""
