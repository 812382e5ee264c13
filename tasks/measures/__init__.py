"""Measures that tasks share: preferences, shortcut controls, entailment, length control."""
