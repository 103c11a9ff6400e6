"""What is measured and how: each module here is run by hand, `python -m benchmarks.X`."""
