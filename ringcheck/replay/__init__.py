"""A source that serves recorded snapshots as time passes, for rehearsals, post-mortems and tests.

Owns the order of the recordings and the clock that replays them. May import core, documents and errors. It reports
what the recordings hold and decides nothing. Start reading at `source`.
"""
