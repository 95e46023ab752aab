"""The pictures of the README: the script makes both, and the committed ones are small."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tests.counterparts.daemon import required
from tests.pictures import IMAGES, ROOT, main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LARGEST = 200_000  # bytes


def words(svg: Path) -> str:
    """The text of a picture of a terminal."""
    return " ".join(ET.parse(svg).getroot().itertext()).replace("\xa0", " ")  # noqa: S314 - made here


def test_the_script_makes_both_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is a WebP of some size; the terminal shows the verdict in colours, and loads no other host's font."""
    required("chromium")
    assert main([str(tmp_path)]) == 0
    page, terminal = (tmp_path / "page.webp").read_bytes(), tmp_path / "terminal.svg"
    assert (page[:4], page[8:12]) == (b"RIFF", b"WEBP")
    assert 20_000 < len(page) < LARGEST
    shown = words(terminal)
    assert "$ ringcheck health orders" in shown
    assert "30 of 96 ranges" in shown
    assert "font-weight: bold" in terminal.read_text()
    assert "url(http" not in terminal.read_text()
    assert str(terminal) in capsys.readouterr().out


def test_the_shipped_pictures_are_small_and_shown() -> None:
    """The README shows each picture of docs/images, with a text for people who can't see it."""
    readme = (ROOT / "README.md").read_text()
    pictures = sorted(IMAGES.iterdir())
    assert [path.name for path in pictures] == ["page.webp", "terminal.svg"]
    for path in pictures:
        assert path.stat().st_size < LARGEST
        text = readme.partition(f"](docs/images/{path.name})")[0].rpartition("![")[2]
        assert len(text) > 20, path.name
