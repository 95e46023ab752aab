"""The manual pages: one for each command, with the texts of its help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ringcheck import __version__
from ringcheck.cli import ringcheck
from tests.cli.test_options import commands
from tests.counterparts.daemon import required

ROOT = Path(__file__).parent.parent
REQUESTS = {".TH", ".nh", ".ad", ".SH", ".PP", ".TP", ".B", ".BR", ".I", ".br"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, as the build of the package writes them."""
    folder = tmp_path_factory.mktemp("man")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    subprocess.run([sys.executable, ROOT / "packaging" / "man_pages.py", folder], env=environment, check=True, cwd=ROOT)
    return folder


def plain(page: str) -> str:
    """The text of a page without roff's escapes and requests."""
    text = re.sub(r"(?m)^\.[A-Za-z]+( |$)", "", page.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\"))
    return " ".join(text.split())


@pytest.mark.slow
def test_each_command_has_a_page_with_all_of_its_help(folder: Path) -> None:
    """Every option with its text, and every sentence of the description; subcommands have pages of their own."""
    known = {"ringcheck.1"}
    for name, command in commands(ringcheck):
        file = f"ringcheck-{name.replace(' ', '-')}.1"
        known.add(file)
        text = plain((folder / file).read_text())
        assert " ".join((command.help or "").split()) in text, name
        context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
        for option in command.get_params(context):
            if isinstance(option, click.Option) and (record := option.get_help_record(context)):
                assert " ".join(record[1].split()) in text, f"{name} {option.name}"
                assert record[0] in text, f"{name} {option.name}"
    assert {path.name for path in folder.iterdir()} == known


def test_the_first_page_lists_the_commands(folder: Path) -> None:
    """Each has one line; the release and the date are those of the build."""
    page = (folder / "ringcheck.1").read_text()
    assert page.startswith(f'.TH "RINGCHECK" "1" "1970-01-01" "ringcheck {__version__}" "ringcheck"\n')
    for name, _ in commands(ringcheck):
        assert " " in name or f".BR ringcheck\\-{name.replace('-', chr(92) + '-')} (1)\n" in page


def test_roff_has_no_request_that_is_text(folder: Path) -> None:
    """A line of text that begins with a dot or an apostrophe would vanish."""
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            if line[:1] in {".", "'"}:
                assert line.split()[0] in REQUESTS, f"{path.name}: {line}"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_are_not_hyphenated(folder: Path, width: int) -> None:
    """Names of commands, options and variables stay whole on a terminal, so that they can be copied."""
    groff = [required("groff"), "-man", "-Tascii", "-P-cbou", f"-rLL={width}n"]
    text = "".join(subprocess.check_output([*groff, path], text=True) for path in sorted(folder.iterdir()))
    assert "RINGCHECK_CONFIG" in text
    assert [line for line in text.splitlines() if re.search(r"[A-Za-z_]-$", line)] == []
