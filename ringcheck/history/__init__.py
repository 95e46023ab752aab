"""The agent's state file: a small SQLite database with what changed in each cluster, and since when.

Owns the schema, the thread that writes, and all SQL; core/transitions.py defines transitions. Begin with database.py
(how the file is opened, and when it is moved aside), then writer.py (how changes get into it), entries.py (the tables
of the history) and reader.py (how they are read). A table of another room in the same file needs a migration in
database.py; the same thread writes to it, in the same order. May import core and errors.
"""
