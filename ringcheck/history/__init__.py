"""The agent's state file: a small SQLite database with what changed in each cluster, and since when.

Owns the schema, the thread that writes, and all SQL; what a transition is, core/transitions.py knows. Begin with
database.py (how the file is opened, and when it is moved aside), then writer.py (how changes get into it), entries.py
(the tables of the history) and reader.py (how they are read). Another room's table in the same file is a migration in
database.py and a write that the same thread does, in the same order.
"""
