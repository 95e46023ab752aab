"""An embedded cluster that speaks Jolokia: for trying, testing and measuring ringcheck without Cassandra.

Owns the state of a whole cluster as JMX shows it; tests compare it with recordings of real clusters. May import core,
for replication strategies only: it must not share code with what it is used to test. Start reading in `cluster`, which
has the nodes and what happens to them; `server` serves it over HTTP.
"""
