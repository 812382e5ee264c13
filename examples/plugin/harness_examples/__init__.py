"""One plug-in of each kind for align-harness: an aligner, a pool, a task, a judge, a backend and an observer."""
