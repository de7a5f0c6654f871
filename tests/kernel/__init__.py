"""Tests in real Jupyter kernels, in each ipykernel version that behaves in its own way."""
