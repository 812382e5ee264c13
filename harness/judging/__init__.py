"""Judges: opened, measured, checked against people."""
