"""Values as JSON documents and back: `ringcheck/snapshot/1` and so on; their JSON Schemas stand in `schemas/`.

Owns the form of documents. May import core alone. Begin with `snapshot`, which shows writing and reading side by side.
"""
