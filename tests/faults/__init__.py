"""Sessions over a line that fails on purpose, and many sessions on one that does not."""
