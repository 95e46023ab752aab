"""`ringcheck ring`: its options, its outputs and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from ringcheck.cli import run
from ringcheck.documents.snapshot import snapshot_document
from tests import figures
from tests.core.test_quorum import cluster as metadata_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def recorded(folder: Path, down: Sequence[str] = ()) -> str:
    path = folder / "snapshot.json"
    path.write_text(json.dumps(snapshot_document(figures.snapshot(down))))
    return str(path)


@pytest.mark.parametrize(
    ("down", "code", "line"),
    [
        ((), 0, "blogs, keyspace blog at LOCAL_QUORUM in dc1: 0 of 12 ranges unavailable, 0 at minimum"),
        (
            (figures.A, figures.C),
            1,
            "blogs, keyspace blog at LOCAL_QUORUM in dc1: 6 of 12 ranges (50.0 % of the tokens) unavailable",
        ),
        (figures.ADDRESSES, 3, "blogs, keyspace blog with no usable view: not known for 12 ranges"),
    ],
)
def test_it_exits_as_health_does(
    down: Sequence[str],
    code: int,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is the severity, as for health; in a pipe the headline is one line."""
    assert run(["ring", "blog", "--from", recorded(tmp_path, down)]) == code
    assert capsys.readouterr().out.splitlines()[0] == line


def test_a_level_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This includes a level that is not monitored."""
    source = recorded(tmp_path, [figures.A])
    assert run(["ring", "blog", "--from", source, "--level", "ALL", "--ascii"]) == 0
    text = capsys.readouterr().out
    assert "at ALL: 9 of 12 ranges" in text
    assert text.count("2/3  unavailable") == 9


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["blgo"], "there is no keyspace 'blgo' (did you mean blog?)"),
        (["x"], "there is no keyspace 'x' (known: blog)"),
        (["blog", "--level", "QUORM"], "there is no consistency level 'QUORM' (did you mean QUORUM?)"),
        (["blog", "--dc", "dc9"], "datacenter dc9 has no nodes (did you mean dc1?)"),
        (["blog", "--svg", "/nowhere/x.svg"], "/nowhere/x.svg can't be written: No such file or directory"),
    ],
)
def test_a_ring_that_can_t_be_drawn_is_an_error(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with one line and exit code 3."""
    assert run(["ring", *arguments, "--from", recorded(tmp_path)]) == 3
    assert capsys.readouterr().err == f"UNKNOWN - {line}\n"


def test_svg_goes_to_a_file_beside_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text is printed as well."""
    target = tmp_path / "ring.svg"
    assert run(["ring", "blog", "--from", recorded(tmp_path), "--svg", str(target)]) == 0
    assert ET.parse(target).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own output
    assert capsys.readouterr().out.startswith("blogs, keyspace blog")


def test_svg_goes_to_stdout_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --svg - the output is SVG and nothing else."""
    assert run(["ring", "blog", "--from", recorded(tmp_path), "--svg", "-"]) == 0
    text = capsys.readouterr().out
    assert ET.fromstring(text).get("role") == "img"  # noqa: S314 - our own output
    assert text.endswith("</svg>\n")


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "sign"), [("ascii", "o "), ("latin-1", "o "), ("utf-8", "▪ ")])
def test_signs_depend_on_the_encoding(encoding: str, sign: str, tmp_path: Path) -> None:
    """Only characters that the encoding has are printed."""
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck", "ring", "blog", "--from", recorded(tmp_path, [figures.A])],
        env={"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"{sign}at minimum" in done.stdout.decode(encoding)


def test_the_metadata_service_is_named_and_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named below each ring of a cluster of 6.0; if its own keyspace is asked for, another command is named."""
    path = tmp_path / "six.json"
    path.write_text(json.dumps(snapshot_document(metadata_cluster(1, 2, 3, down=(2,)))))
    run(["ring", "orders", "--from", str(path), "--level", "ONE"])
    assert capsys.readouterr().out.endswith(
        "\n\nNot in this picture: 2 of 3 members of the cluster metadata service up, 2 needed "
        "to change schema or topology.\n"
    )
    assert run(["ring", "system_cluster_metadata", "--from", str(path)]) == 3
    assert "its replicas are the members of the cluster metadata service" in capsys.readouterr().err
    run(["ring", "blog", "--from", recorded(tmp_path)])
    assert "Not in this picture" not in capsys.readouterr().out
