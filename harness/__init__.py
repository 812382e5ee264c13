"""An evaluation-first benchmark for few-shot preference alignment.

Importing this package loads nothing else; see `harness.contracts` for what plug-ins implement.
"""

__version__ = "0.1.0"
