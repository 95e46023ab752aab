"""Change replies and snapshots at random, and report every crash, false OK, and unprintable or slow output.

python -m tests.fuzz --seconds 60
python -m tests.fuzz --seed 3 --case 4711
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from tests.fuzz.running import fuzzed

SHOWN = 40


def main() -> int:
    """Run what the command line asks for; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of all cases")
    parser.add_argument("--case", type=int, help="run this one only")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        only = options.case is not None
        report = fuzzed(options.seed, options.seconds, Path(folder), options.case or 0, 1 if only else None)
    seconds = time.monotonic() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    codes = ", ".join(f"{count} exit {code}" for code, count in sorted(report.codes.items()))
    print(f"seed {options.seed}: {report.cases} cases in {seconds:.0f} s ({report.cases / seconds * 60:.0f} a minute)")
    print(
        f"{report.cpu:.0f} s of CPU in the commands ({report.cases / max(report.cpu, 0.001) * 60:.0f} a minute of CPU)"
    )
    print(f"{codes}; slowest {report.slowest:.2f} s of CPU; peak memory {memory} MiB; {len(report.failures)} failures")
    for failure in report.failures[:SHOWN]:
        print(failure)
    return int(bool(report.failures))


if __name__ == "__main__":
    raise SystemExit(main())
