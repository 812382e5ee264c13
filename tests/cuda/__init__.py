"""Tests; see CONTRIBUTING.md for the tiers."""
