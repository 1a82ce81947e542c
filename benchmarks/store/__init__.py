"""The delta store measured: corpora of real weights and real derivatives, and what is left of them beside BitX."""
