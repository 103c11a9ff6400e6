"""What a peer that deviates can do, and what it cannot: each test is an attack."""
