"""Rows, draws and leaks."""
