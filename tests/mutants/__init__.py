"""Deliberate breaks of the code, each caught by a named test: `python -m tests.mutants`."""
