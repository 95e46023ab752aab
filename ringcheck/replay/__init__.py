"""A source that replays recorded snapshots as time passes, for rehearsals, post-mortems and tests.

Owns the order of the recordings and the clock that replays them. It returns what the recordings contain, and draws no
conclusions. May import core, documents and errors. Start at `source.py`.
"""
