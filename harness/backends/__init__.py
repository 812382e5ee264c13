"""Backends: what runs a language model. Each declares its capabilities; see `contracts.Backend`."""
