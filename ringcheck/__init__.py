"""Ring health of Apache Cassandra clusters, from outside their JVMs."""

__version__ = "0.1.0"
