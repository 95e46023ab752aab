"""What all tests share: how many random examples hypothesis makes, and that a run can be repeated."""

from __future__ import annotations

import os

from hypothesis import settings

# `ci` makes the same examples in each run, so that a red one is red for everyone; RINGCHECK_EXAMPLES asks for more of
# each test (a factor) and for new ones in each run.
MORE = int(os.environ.get("RINGCHECK_EXAMPLES", "1"))

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, database=None)
settings.register_profile("more", deadline=None, print_blob=True)
settings.load_profile("ci" if MORE == 1 else "more")
