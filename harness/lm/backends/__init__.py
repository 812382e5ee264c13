"""Engines that run a model."""
