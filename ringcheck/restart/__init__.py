"""Rolling restarts: nodes are restarted batch by batch, and no query fails for it.

Owns the run, its journal, the operator's commands, and the rule for when a restarted node is back. May import core,
report and leases. It reaches Cassandra only through a poll and a `NodeControl` that it is given, and knows no Jolokia.
Start reading in `runner`, which has the theory; `readiness` is also used by the agent and by `ringcheck lease`.
"""
