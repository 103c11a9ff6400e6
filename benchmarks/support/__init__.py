"""What the benchmarks share: rows, verification, processes, networks, images; and their cases."""
