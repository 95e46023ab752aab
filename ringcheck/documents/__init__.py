"""JSON documents: values written as `ringcheck/snapshot/1` and so on, and read back; their JSON Schemas in `schemas/`.

Owns the form of documents: names of fields, what is null, how tokens are written. May import core. Begin with
`snapshot`, which has writing and reading side by side; `fields` reads objects with errors that name the path.
"""
