"""A Program drawn: one HTML file that needs nothing else."""
