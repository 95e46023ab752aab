"""Bent worlds: made-up clusters whose truth is known, told with lies, and what ringcheck may say of them.

A world is a cluster with a truth (which ring there is, whom each coordinator reaches) and what each node's Jolokia
answers, which may be contradictory, stale or partial. The truth is worked out here, from Cassandra's rules, and shares
no code with ringcheck: nothing here may import anything of ringcheck but its entry points.

Start reading in `cluster.py` (the truth), then `lies.py` (what bends it), `jolokia.py` (the answers), `oracle.py` (what
is served and what a stop costs) and `check.py` (what must hold). `python -m tests.worlds --help` runs many of them.
"""
