"""Judges: which of two answers is better? One file each."""
