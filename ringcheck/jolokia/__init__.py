"""The source that polls Cassandra over Jolokia: the only room that sends requests to Cassandra nodes.

Owns requests to agents, the reading of their replies, discovery of members, and the state that is kept between polls.
It reports a `Snapshot`; `core` decides who is a member, whose view counts and what is healthy. May import core, http
and errors.

Start at `source.py` (the public `JolokiaSource`), then read `poll.py`, whose first page explains what a poll asks and
why. `control.py` is for `roll` alone: it asks single nodes, and drains them. `doctor.py` tests one host step by step,
and says how to fix what fails.
"""
