"""Plug-ins: the hooks, the registry, and what is wrong with a class."""
