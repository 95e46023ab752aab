"""Real Cassandra clusters on loopback addresses, for tests and by hand (`python -m tests.cassandra`)."""
