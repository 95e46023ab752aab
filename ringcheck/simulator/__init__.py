"""An embedded cluster that speaks Jolokia, for trying, testing and measuring without Cassandra."""
