"""Many machines of one party, by Ray: what places servers' workers and studies' sessions there."""
