"""Each party's view of each protocol under two inputs of the other: `python -m tests.views`."""
