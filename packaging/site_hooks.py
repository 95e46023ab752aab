"""Hooks of mkdocs.yml: the site also contains the files of the repository that the pages in docs/ link to.

A page links to `../config/nagios/ringcheck.cfg`, so that the link works in a checkout. In the site that file is
`config/nagios/ringcheck.cfg`, and a folder is a page that lists its files. `mkdocs build --strict` then checks these
links as it does those between pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "Containerfile")
FOLDERS = ("config", "packaging", "plugins", "systemd", "ringcheck/documents/schemas")
LINK = re.compile(r"(\]\()(\.\./|docs/)?((?!\w+:)[^)#\s]*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files, and a page for each folder."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for folder in FOLDERS:
        for path in (ROOT / folder, *sorted((ROOT / folder).rglob("*"))):
            files.append(_file(path, config))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links to the repository at the site's copies, and indent nested lists as Python-Markdown wants it."""
    if "/" in page.file.src_uri:  # the list of a folder
        return markdown
    return re.sub(r"(?m)^ {3}(?=\S)", "    ", LINK.sub(_target, markdown))


def _file(path: Path, config: MkDocsConfig) -> File:
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        listing = "\n".join(_listing(path, name))
        return File.generated(config, f"{name}/index.md", content=listing, inclusion=InclusionLevel.NOT_IN_NAV)
    return File.generated(config, name, abs_src_path=str(path))


def _listing(folder: Path, name: str) -> Iterator[str]:
    yield f"# {name}\n"
    for path in sorted(folder.iterdir()):
        yield f"- [{path.name}]({path.name}{'/index.md' if path.is_dir() else ''})"


def _target(link: re.Match[str]) -> str:
    """A link with its target in the site: without `../` or `docs/`, and with the page of a folder."""
    before, _, target = link.groups()
    return f"{before}{target}{'/index.md' if target and (ROOT / target).is_dir() else ''}"
