"""What every fit finds out before it begins, found out once in the process that fits are forked from.

Imported there beside what a fit imports (`harness.run.nursery`). The hash of the harness's code is then that of the
code which the forked fits run, because both were read at the same time. No plug-in is imported: a fit imports its own.
"""

import gc

from harness.records.provenance.code import harness_code, read_ahead
from harness.records.provenance.libraries import owners, plugin_distributions
from harness.run.identity import FIT_ROOMS

harness_code(*FIT_ROOMS)
read_ahead()
owners("torch")
plugin_distributions()
gc.freeze()  # a collection in a fit, of which trainers ask for some, need not look at the libraries: half a second each
