"""Let an agent poll clusters that change all the time, and report what it keeps in memory from start to end.

python -m tests.soak --polls 20000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.soak.running import grown, soak


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--polls", type=int, default=20000, help="of all clusters together")
    parser.add_argument("--seed", type=int, default=0, help="of what happens")
    parser.add_argument("--counts", type=int, default=5, help="how often to count")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        held = []
        for now in soak(Path(folder), options.polls, options.seed, options.counts):
            held.append(now)
            print(f"{time.monotonic() - started:6.0f} s, {now.line()}", flush=True)
    print(f"more from the middle on: {grown(held[len(held) // 2], held[-1]) or 'nothing'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
