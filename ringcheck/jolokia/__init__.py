"""The only room that talks to Cassandra: what it says over Jolokia becomes a Snapshot."""
