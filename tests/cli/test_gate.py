"""The gate as configuration and options set it, and the node that a name means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringcheck.cli import run
from ringcheck.cli.node_names import resolve
from ringcheck.core.ring import Node
from ringcheck.documents.snapshot import read_snapshot
from ringcheck.errors import UsageError

SNAPSHOTS = Path(__file__).parent.parent / "snapshots"
ARTICLE, ONE_DOWN = (SNAPSHOTS / f"article-{name}.json" for name in ("healthy", "one-down"))
NODES = tuple(Node(f"10.0.0.{last}", host_id=f"{last}a-{last}") for last in (10, 21, 22))
ALL_OF_BLOG_3 = "768 of 768 ranges (100.0 % of the tokens) of blog_3"
SEEN = replace(read_snapshot(ARTICLE.read_bytes(), "article"), nodes=NODES, views=(), rings=())


@pytest.mark.parametrize(
    ("name", "address"),
    [("10.0.0.10", "10.0.0.10"), ("10.0.0.1", "10.0.0.1"), ("10.0.0.2", "10.0.0.2"), ("10a", "10.0.0.10")],
)
def test_a_whole_address_is_no_beginning_of_another(name: str, address: str) -> None:
    """10.0.0.1 never means 10.0.0.10; the beginning of a host id means its node."""
    assert resolve(name, SEEN) == address


def test_a_beginning_of_several_is_refused() -> None:
    """An ambiguous name is an error."""
    with pytest.raises(UsageError, match=r"2 can mean 10\.0\.0\.21, 10\.0\.0\.22"):
        resolve("2", SEEN)


IDS = ("db1f5a3e-0000", "db1", "c0ffee00-0000", "db2e-0000")
NAMED = replace(SEEN, nodes=tuple(Node(f"10.0.0.{last}", host_id=one) for last, one in enumerate(IDS, 1)))


@pytest.mark.parametrize(
    ("name", "known", "address"),
    [
        ("c0", [], "10.0.0.3"),
        ("c0", ["10.0.0.3", "192.0.2.3"], "10.0.0.3"),
        ("web", ["192.0.2.3", "10.0.0.3"], "10.0.0.3"),
        ("web", ["192.0.2.3"], "web"),
        ("db1", ["10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.1"),
        ("10.1", ["10.0.0.1"], "10.1"),
        ("0xa000001", ["10.0.0.1"], "0xa000001"),
        ("10.0x0.1", ["10.0.0.1"], "10.0x0.1"),
        ("a..b", [], "a..b"),
    ],
)
def test_a_host_name_is_looked_up_and_an_address_or_host_id_is_not(
    name: str, known: list[str], address: str, hosts: dict[str, list[str]]
) -> None:
    """An address or host id means its node, whatever a name server answers, and 10.1 is not a host name."""
    if known:
        hosts[name] = known
    assert resolve(name, NAMED) == address


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("db2", ["10.0.0.3"], "10.0.0.4, 10.0.0.3"),
        ("db2", ["192.0.2.3"], "10.0.0.4, 192.0.2.3"),
        ("web", ["10.0.0.3", "10.0.0.2", "192.0.2.3"], "10.0.0.2, 10.0.0.3"),
        ("db", [], "10.0.0.1, 10.0.0.2, 10.0.0.4"),
    ],
)
def test_a_host_name_that_is_the_beginning_of_another_host_id_is_refused(
    name: str, known: list[str], meant: str, hosts: dict[str, list[str]]
) -> None:
    """The host db2 is never taken for a node whose host id happens to begin with db2."""
    if known:
        hosts[name] = known
    with pytest.raises(UsageError, match=f"^{name} can mean {meant}: name one of them$"):
        resolve(name, NAMED)


def test_an_empty_name_is_none() -> None:
    """A variable that was never set must not mean the only node."""
    with pytest.raises(UsageError, match="a NODE is empty"):
        resolve("", replace(SEEN, nodes=NODES[:1]))


def configured(folder: Path, settings: str) -> str:
    """The configuration of the article's cluster with these settings added."""
    path = folder / "ringcheck.yaml"
    path.write_text(f"clusters: {{blogs: {{jolokia: {{contact_points: [10.0.0.1]}}, {settings}}}}}\n")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize(
    ("command", "seen", "key", "reason"),
    [
        (["preflight", "10.0.0.2"], ARTICLE, "require_spare", "would_be_at_minimum"),
        (["preflight", "10.0.0.2"], ONE_DOWN, "require_all_up", "node_down_elsewhere"),
        (["plan"], ARTICLE, "require_spare", "would_be_at_minimum"),
    ],
)
def test_the_configuration_and_the_option_each_make_it_stricter(  # noqa: PLR0917 - pytest passes them by name
    command: list[str],
    seen: Path,
    key: str,
    reason: str,
    option: bool,  # noqa: FBT001 - as above
    config: bool,  # noqa: FBT001 - as above
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Either is enough: leaving out an option does not relax the configuration."""
    level = "LOCAL_ONE" if key == "require_all_up" else "LOCAL_QUORUM"
    gate = f"gate: {{level: {level}, accept: [blog_1], {key}: {str(config).lower()}}}"
    words = [*command, "-C", configured(tmp_path, gate), "--from", str(seen)]
    strict = option or config
    assert run([*words, f"--{key.replace('_', '-')}"] if option else words) == (2 if strict else 0)
    assert not strict or f"{reason}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["preflight", "10.0.0.1", "10.0.0.2"],
            2,
            f"{ALL_OF_BLOG_3} would become unavailable at LOCAL_QUORUM in dc1",
        ),
        (["preflight", "10.0.0.1"], 0, "SAFE"),
        (
            ["preflight", "10.0.0.1", "--level", "LOCAL_ALL"],
            2,
            f"{ALL_OF_BLOG_3} can't survive any stop at LOCAL_ALL in dc1",
        ),
        (["plan"], 0, "3 nodes in 3 batches"),
    ],
)
def test_no_level_lowers_what_a_keyspace_must_keep(
    words: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--level replaces the configured level, but not a keyspace's own critical level, which its clients need."""
    rule = "monitor: [{keyspaces: [blog_3], critical: LOCAL_QUORUM, warning: LOCAL_ALL}]"
    config = configured(tmp_path, f"{rule}, gate: {{accept: [blog_1]}}")
    level = [] if "--level" in words else ["--level", "LOCAL_ONE"]
    assert run([*words, *level, "-C", config, "--from", str(ARTICLE)]) == code
    assert says in capsys.readouterr().out
