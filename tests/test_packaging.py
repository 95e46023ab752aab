"""What PyPI gets: metadata with absolute links, and a source distribution with docs, examples and tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ringcheck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://git.example.org/team/ringcheck"
LINKS = re.compile(r"\]\(([^)\s]+)\)")
BUILD = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"


def built(folder: Path, repository: str) -> tarfile.TarFile:
    """The source distribution of this tree, built with the locked backend."""
    command = [sys.executable, "-c", BUILD, str(folder)]
    environment = {**os.environ, "RINGCHECK_REPOSITORY": repository}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tarfile.open(folder / done.stdout.split()[-1])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tarfile.TarFile]:
    """The distribution, built as for a release; the address ends with a slash, which does not matter."""
    with built(tmp_path_factory.mktemp("released"), f"{REPOSITORY}/") as archive:
        yield archive


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tarfile.TarFile]:
    """The distribution, built without the address of a repository."""
    with built(tmp_path_factory.mktemp("plain"), "") as archive:
        yield archive


def metadata(archive: tarfile.TarFile) -> Message:
    """The metadata, with the long description as its payload."""
    file = archive.extractfile(f"ringcheck-{ringcheck.__version__}/PKG-INFO")
    assert file is not None
    return message_from_bytes(file.read())


def description(archive: tarfile.TarFile) -> str:
    return metadata(archive).get_payload(decode=True).decode()  # type: ignore[union-attr]


def test_links_of_the_description_are_absolute(released: tarfile.TarFile) -> None:
    """Each link leads to a file of the release's tag, and each picture to its raw file."""
    links = LINKS.findall(description(released))
    files = [link for link in links if link.startswith(REPOSITORY)]
    assert len(files) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    tag = f"v{ringcheck.__version__}"
    paths = [link.removeprefix(f"{REPOSITORY}/").split("/", 2) for link in files]
    assert {(kind, release) for kind, release, _ in paths} == {("blob", tag), ("raw", tag)}
    assert all((ROOT / path.partition("#")[0]).exists() for _, _, path in paths)
    assert {path for kind, _, path in paths if kind == "raw"} == {"docs/images/page.webp", "docs/images/terminal.svg"}


def test_the_projects_urls(released: tarfile.TarFile) -> None:
    """PyPI shows docs, source, issues and changelog beside the description, which is Markdown."""
    found = metadata(released)
    shown = dict(entry.split(", ") for entry in found.get_all("Project-URL", []))
    assert shown == {
        "Documentation": f"{REPOSITORY}/blob/v{ringcheck.__version__}/docs/index.md",
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/v{ringcheck.__version__}/CHANGELOG.md",
    }
    assert found["Description-Content-Type"] == "text/markdown"


def test_without_an_address_nothing_is_made_up(plain: tarfile.TarFile) -> None:
    """The description is the README, and there are no URLs."""
    assert metadata(plain).get_all("Project-URL") is None
    assert description(plain).strip() == (ROOT / "README.md").read_text().strip()


def test_the_source_distribution_has_docs_and_examples(plain: tarfile.TarFile) -> None:
    """It has the docs with their pictures, examples, units, plugin, tests and the build's own hook, and no cache."""
    names = {name.partition("/")[2] for name in plain.getnames()}
    wanted = [*(ROOT / "docs").rglob("*"), *(ROOT / "config").rglob("*"), *(ROOT / "systemd").iterdir()]
    paths = {path.relative_to(ROOT).as_posix() for path in wanted if path.is_file()}
    assert len(paths) > 40
    assert paths - names == set()
    assert {"packaging/metadata.py", "plugins/check_cassandra_ring", "mkdocs.yml", "tests/test_docs.py"} <= names
    assert not [name for name in names if name.startswith((".ci", ".cache", ".venv", "build/"))]
