"""The tests: one file for each module, and harnesses for real kernels and real browsers."""
