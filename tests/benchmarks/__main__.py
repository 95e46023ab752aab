"""Run benchmarks and print their tables as Markdown."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from tests import benchmarks


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    known = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    print("| Work | Measured | Compared with | Ratio | Budget | Met |")
    print("|---|---|---|---|---|---|")
    for name in names or known:
        for row in importlib.import_module(f"tests.benchmarks.{name}").run():
            cells = (row.what, row.measured, row.against, _ratio(row.ratio), *_verdict(row))
            print(f"| {' | '.join(cells)} |")
            sys.stdout.flush()
    return 0


def _verdict(row: benchmarks.Row) -> tuple[str, str]:
    return (row.budget, "yes" if row.met else "NO") if row.met is not None else ("", "")


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"1/{1 / ratio:.0f}" if ratio < 1 / 2 else f"{ratio:.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
