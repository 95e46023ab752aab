"""The program: `ringcheck`, and `python -m ringcheck`."""

from __future__ import annotations

from ringcheck import deadline


def main() -> None:
    """Run the command line and exit; the deadline of `check` holds from here on."""
    deadline.watch()
    from ringcheck.cli import main as run  # noqa: PLC0415 - click and all commands come after the watch

    try:
        run()
    except SystemExit as ended:
        deadline.leave(ended.code)
        raise


if __name__ == "__main__":
    main()
