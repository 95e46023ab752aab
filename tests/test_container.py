"""The Containerfile: what it copies exists, and the image runs as an ordinary user without a shell.

No builder of images and no registry is needed; `make examples` also lints it with hadolint.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from pathlib import Path

from ringcheck.cli import COMMANDS
from tests.counterparts.examples import example_program

ROOT = Path(__file__).parent.parent
FILE = ROOT / "Containerfile"
BASES = {"docker.io/library/python:3.11-slim-bookworm": "3.11", "gcr.io/distroless/python3-debian12:nonroot": "3.11"}


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage with their arguments; the first of each is FROM."""
    text = re.sub(r"(?m)^#.*\n", "", FILE.read_text()).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, " ".join(rest.split())))
    return found


def copied() -> list[str]:
    """The files and folders of the repository that are copied."""
    arguments = [rest for stage in stages() for word, rest in stage if word == "COPY" and not rest.startswith("--from")]
    return [source for rest in arguments for source in rest.split()[:-1]]


def admitted(path: str) -> bool:
    """Whether .containerignore keeps a path in the context: the last line that matches decides."""
    kept = True
    for line in (ROOT / ".containerignore").read_text().split():
        if fnmatch.fnmatch(path, line.removeprefix("!")):
            kept = line.startswith("!")
    return kept


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    """The lock file, the package, the program and the licence are copied; nothing else is sent to the builder."""
    assert copied() == ["requirements/runtime.txt", "ringcheck", "packaging/ringcheck", "LICENSE"]
    assert all((ROOT / path).exists() and admitted(path) for path in copied())
    assert (ROOT / "packaging/ringcheck").stat().st_mode & 0o111
    assert not any(map(admitted, ["tests", ".git", "config", "docs", "requirements/dev.txt"]))


def test_the_image_has_no_shell_and_an_ordinary_user() -> None:
    """The last stage runs nothing while it is built, has a numeric user other than root, and starts the program."""
    last = stages()[-1]
    words = [word for word, _ in last]
    assert "RUN" not in words
    arguments = dict(last)
    assert arguments["USER"] == "65532:65532"
    assert json.loads(arguments["ENTRYPOINT"]) == ["/usr/bin/ringcheck"]
    command, *options = json.loads(arguments["CMD"])
    assert command in COMMANDS
    assert options == ["--config", "/etc/ringcheck/ringcheck.yaml"]
    assert arguments["VOLUME"] == "/var/lib/ringcheck"


def test_both_stages_have_one_release_of_python() -> None:
    """The libraries are compiled in the first stage for the Python of the last."""
    bases = [stage[0][1].split()[0] for stage in stages()]
    assert bases == list(BASES)
    assert len(set(BASES.values())) == 1


def test_the_libraries_are_those_of_the_lock() -> None:
    """They are installed with their hashes checked, and as wheels."""
    (install,) = [rest for word, rest in stages()[0] if word == "RUN" and "pip install" in rest]
    assert "--require-hashes --only-binary :all:" in install
    assert "-r runtime.txt" in install


def test_hadolint_has_no_objection() -> None:
    """hadolint, the linter of Containerfiles, knows common mistakes."""
    done = subprocess.run([example_program("hadolint"), FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
