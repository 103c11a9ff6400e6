"""The commands of both parties, and of whoever wants to know a Program's cost: one file each."""
