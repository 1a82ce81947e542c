"""The delta store measured: corpora of real weights and real derivatives, and what is left of them beside BitX."""

import os

# before numpy is loaded: BLAS threads spin on other cores, where no thread's CPU time sees them
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
