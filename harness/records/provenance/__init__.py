"""What a result came from: the code, the libraries, the environment, and where this installation is from.

`harness.run.identity` puts these together with a cell's options and data: the manifest whose hash is the cell's id.
"""

from harness.records.provenance.code import edited, harness_code, plugin_code
from harness.records.provenance.libraries import environment, packages, python, versions
from harness.records.provenance.manifest import Decisive, differences, digest, flat
from harness.records.provenance.origin import Origin, origin

__all__ = [
    "Decisive",
    "Origin",
    "differences",
    "digest",
    "edited",
    "environment",
    "flat",
    "harness_code",
    "origin",
    "packages",
    "plugin_code",
    "python",
    "versions",
]
