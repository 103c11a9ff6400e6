"""Fuzzing: whatever a stranger can hand to a party, changed by a machine that follows coverage."""
