"""Bent worlds: random clusters with a known truth, whose nodes give false reports, and what ringcheck may answer.

A world has a truth (its ring, and the nodes that each coordinator reaches) and the answers of each node's Jolokia,
which may be contradictory, stale or partial. The truth is computed here from Cassandra's rules and shares no code with
ringcheck: files in this folder may import only the entry points of ringcheck.

Start reading in `cluster.py` (the truth), then `lies.py` (what bends it), `jolokia.py` (the answers), `oracle.py`
(served ranges, and the cost of a stop) and `check.py` (what must hold). `python -m tests.worlds` runs many worlds;
`--help` shows how.
"""
