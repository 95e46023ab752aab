"""Renderings of verdicts, decisions, plans and leases: text, pictures, Nagios, Sensu, metrics.

Owns the wording and the form of each output, one file for each; a rendering takes values and returns text, and
evaluates nothing. May import core and documents. Begin with `text`, the output of `health`, and with `terminal`, which
fits every line to a terminal. `picture` holds the content that `picture_text` and `picture_svg` draw.
"""
