"""One thread for each process: the models are tiny, and threads of two processes on two cores wait for one another."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported, so before every other import
