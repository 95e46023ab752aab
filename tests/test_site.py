"""The site of the docs: every page is in its navigation, and every link leads to a page and an anchor on it.

These tests need no mkdocs. `make site` builds the site, and checks the same with mkdocs's own rules.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
AT_THE_TOP = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)")


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags for Python objects become None."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def site() -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)  # noqa: S506 - a safe loader
    return document


def paths(nav: list[Any]) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += [value] if isinstance(value, str) else paths(value)
    return found


def prose(page: str) -> str:
    """A page without its code: blocks between fences, indented blocks and spans."""
    page = re.sub(r"(?ms)^( *)```.*?^ *```$", "", page)
    return re.sub(r"(?m)^(?:    |\t).*$", "", page)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(page))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> list[str]:
    """The links of a page that lead to no file of the repository, or to no heading of that file."""
    dead = []
    for target, anchor in LINK.findall(prose(page.read_text())):
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            dead.append(f"{target}#{anchor}")
    return dead


def test_the_navigation_has_every_page_once() -> None:
    """Nobody would find a page that is missing from the navigation in mkdocs.yml."""
    assert sorted(paths(site()["nav"])) == sorted(AT_THE_TOP | {path.name for path in DOCS.glob("*.md")})


def test_a_missing_page_is_noticed() -> None:
    """Pages of nested sections count too, with and without a title of their own."""
    assert paths([{"Start": ["index.md", {"Install": "install.md"}]}, "last.md"]) == [
        "index.md", "install.md", "last.md",
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_heading(page: Path) -> None:
    """Each relative link names a file of the repository, and its anchor a heading of that file."""
    assert dead_links(page) == []


def constant(name: str) -> tuple[str, ...]:
    """A constant of the hooks, which can't be imported without mkdocs."""
    tree = ast.parse((ROOT / "packaging" / "site_hooks.py").read_text())
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    (value,) = [node.value for node in assignments if ast.unparse(node.targets[0]) == name]
    found: tuple[str, ...] = ast.literal_eval(value)
    return found


def test_the_site_has_every_file_that_is_linked() -> None:
    """Files of the repository to which a page links are among those that the hooks add."""
    targets = {target for page in DOCS.glob("*.md") for target, _ in LINK.findall(prose(page.read_text()))}
    files = {target.removeprefix("../") for target in targets if target.startswith("../")}
    assert len(files) > 10
    added = constant("PAGES"), constant("FOLDERS")
    assert [file for file in files if file not in added[0] and not file.startswith(added[1])] == []


def test_the_build_is_strict() -> None:
    """A warning ends `make site`. With --quiet mkdocs sees no warnings, and builds a site with dead links."""
    recipe = (ROOT / "Makefile").read_text().partition("\nsite: ")[2].partition("\n\n")[0]
    assert "mkdocs build --strict" in recipe
    assert "-q" not in recipe
    levels = {level for group in site()["validation"].values() for level in group.values()}
    assert levels == {"warn"}


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    """The test above finds a missing file and a missing anchor, and ignores code and addresses."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n[1](#a-b-c) [2](#a-b) [3](page.md#a-b-c) [4](none.md) [5](page.md#none)\n"
        "[6](https://example.org/none)\n\n    [7](none.md)\n\n```sh\n# [8](none.md)\n```\n"
    )
    assert dead_links(page) == ["#a-b", "none.md#", "page.md#none"]


def test_the_index_names_every_page_of_the_docs() -> None:
    """docs/index.md links to each page, so that readers without the site find them too."""
    linked = {target for target, _ in LINK.findall((DOCS / "index.md").read_text())}
    assert {path.name for path in DOCS.glob("*.md")} - linked == {"index.md"}
