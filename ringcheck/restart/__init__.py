"""Rolling restarts: nodes are restarted batch by batch, without failed queries.

Owns the run, its journal, the operator's commands, and the rule for when a restarted node is back. May import core,
report and leases. It reaches Cassandra only through a poll function and a `NodeControl` that are passed to it; it does
not know Jolokia. Start reading in `runner`, which has the theory; `readiness` is also used by the agent and by
`ringcheck lease`.
"""
