"""What is true of a ring: health, gate, plan and what-if, worked out from a snapshot and a policy.

Owns every decision: who is a member, who is up and for whom, which ranges can be served, what may stop. Imports only
itself, `ringcheck.errors` and value modules of the standard library: no I/O, clock, environment or logging.

Start with ring.py (what a snapshot is), then evidence.py (what its views mean), health.py (which ranges can be served),
assess.py (the verdict) and gate.py (whether nodes may stop). consistency.py has Cassandra's rules for each level, and
findings.py and reasons.py the tables of everything that can be reported.
"""
