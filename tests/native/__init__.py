"""What tools say about the compiled kernels: `python -m tests.native`."""
