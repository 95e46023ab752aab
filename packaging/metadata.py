"""The long description and the project's URLs for PyPI, with absolute links if the repository's address is given.

`RINGCHECK_REPOSITORY=https://git.example.org/ringcheck` is the address of the repository, below which `/blob/vVERSION/`
and `/raw/vVERSION/` lead to its files, as on GitHub and Gitea. Without it, links stay relative and there are no URLs:
PyPI would show dead links, so a release is built with it (CONTRIBUTING.md, "Release").
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\]\()((?!\w+:)[^)#\s]+)")


class Metadata(MetadataHookInterface):
    """Sets `readme` and `urls`, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in both.

        Args:
            metadata: the table `project`.
        """
        text = (Path(self.root) / "README.md").read_text()
        repository = os.environ.get("RINGCHECK_REPOSITORY", "").rstrip("/")
        tag = f"v{metadata['version']}"
        metadata["urls"] = urls(repository, tag) if repository else {}
        text = absolute(text, repository, tag) if repository else text
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """A text whose relative links lead to the files of a tag, and whose pictures are loaded from there."""

    def leading(link: re.Match[str]) -> str:
        picture, before, target = link.groups()
        return f"{picture}{before}{repository}/{'raw' if picture else 'blob'}/{tag}/{target}"

    return LINK.sub(leading, text)


def urls(repository: str, tag: str) -> dict[str, str]:
    """The project's URLs, by the labels that PyPI knows."""
    files = f"{repository}/blob/{tag}"
    return {
        "Documentation": f"{files}/docs/index.md",
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{files}/CHANGELOG.md",
    }
