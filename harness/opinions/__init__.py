"""Opinions of groups: questions, features, regressions, results."""
