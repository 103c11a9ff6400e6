"""What a Program costs before anything runs: bytes and flights exactly, seconds by prediction."""
