"""Tests; a package so that `from tests.tiny import tiny_model` works from anywhere below."""
