"""Pure renderings of verdicts, decisions and snapshots; one file an output."""
