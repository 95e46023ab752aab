"""The docs match the program: commands, keys, findings, reasons, metrics, file names, and the output of examples."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from ringcheck.cli import run
from ringcheck.core.fact_kinds import KINDS
from ringcheck.core.findings import FINDINGS
from ringcheck.core.reasons import REASONS
from ringcheck.jolokia.mbeans import CALLS, COUNTED
from ringcheck.report.families import FAMILIES
from tests import docs

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]
EXAMPLE = re.compile(r"```console\n\$ (ringcheck [^\n]*)\n(.*?)```", re.DOTALL)
TIME = re.compile(r"time=\d+\.\d+s")


def examples() -> list[tuple[str, str, str]]:
    return [(page.name, *found) for page in PAGES for found in EXAMPLE.findall(page.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command", "output"), examples())
def test_examples_run(
    page: str, command: str, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command in the docs prints the output that is shown below it."""
    monkeypatch.chdir(ROOT)
    run(shlex.split(command)[1:])
    assert TIME.sub("time=0.000s", capsys.readouterr().out) == output, page


def test_there_are_examples() -> None:
    """The test above finds examples to run."""
    assert len(examples()) >= 3


def test_the_page_of_commands_is_current() -> None:
    """`make docs` was run after the last change of an option."""
    assert (ROOT / "docs" / "commands.md").read_text() == docs.text()


def test_the_page_of_keys_is_current() -> None:
    """`make docs` was run after the last change of a key."""
    assert (ROOT / "docs" / "configuration.md").read_text() == docs.configuration()


def codes(pattern: str, *folders: str) -> set[str]:
    sources = [path.read_text() for folder in folders for path in (ROOT / "ringcheck" / folder).rglob("*.py")]
    return {code for source in sources for code in re.findall(pattern, source)}


@pytest.mark.parametrize("page", docs.WITH_TABLES, ids=lambda page: page.name)
def test_tables_of_findings_and_reasons_are_current(page: Path) -> None:
    """`make docs` was run after the last change of a row, and no row was edited by hand."""
    assert page.read_text() == docs.with_tables(page.read_text())


def test_every_finding_and_reason_is_documented() -> None:
    """Each row of the two tables is on its page, once."""
    for page, known in (("findings.md", FINDINGS), ("gate.md", REASONS)):
        documented = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
        assert sorted(documented) == sorted(known)


def test_every_code_that_is_used_has_a_row() -> None:
    """Each code that the program uses for a finding, a problem or a reason has a row in a table."""
    findings = codes(r'(?:Finding|Problem|noted)\(\s*(?:code=)?"([a-z_]+)"', "core", "jolokia", "report")
    assert findings <= FINDINGS.keys()
    assert findings == FINDINGS.keys()
    assert codes(r'\breason\(\s*"([a-z_]+)"', "core", "agent", "cli") <= REASONS.keys()
    assert {kind.reason for kind in FINDINGS.values() if kind.gate == "blocks"} <= REASONS.keys()


def test_every_metric_is_documented() -> None:
    """docs/metrics.md has each metric once, with its type, and no others; it names every label."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = re.findall(r"^\| `((?:cassandra_ring|ringcheck)_[a-z_]+)` \| (\w+) \|", page, re.MULTILINE)
    types = {family.series: "gauge" if family.kind == "info" else family.kind for family in FAMILIES}
    assert sorted(documented) == sorted(types.items())
    assert all(f"`{label}`" in page for family in FAMILIES for label in family.labels)


def test_every_kind_of_change_is_documented() -> None:
    """docs/history.md has each kind with its meaning, in the same order, and no others."""
    section = (ROOT / "docs" / "history.md").read_text().partition("<!-- kinds -->")[2].partition("\n\n")[2]
    rows = re.findall(r"^\| `([a-z]+)` \| (.*) \|$", section.partition("\n\n")[0], re.MULTILINE)
    assert rows == [(name, kind.meaning) for name, kind in KINDS.items()]


def test_every_alert_is_documented() -> None:
    """docs/metrics.md lists each alert with its tier, in the order of the rules, with a link to its runbook."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    rules = yaml.safe_load((ROOT / "config" / "prometheus" / "ringcheck.rules.yml").read_text())
    alerts = {rule["alert"]: rule["labels"]["severity"] for group in rules["groups"] for rule in group["rules"]}
    documented = re.findall(r"^\| \[(\w+)\]\(runbooks\.md#(\w+)\) \| (page|ticket) \| \S", page, re.MULTILINE)
    assert documented == [(name, name.lower(), tier) for name, tier in alerts.items()]


def test_every_event_of_the_log_is_documented() -> None:
    """The table in docs/agent.md has each event that the service can log, once, and no others."""
    others = [ROOT / "ringcheck/cli/agent.py", ROOT / "ringcheck/http/debuglog.py"]
    sources = [path.read_text() for path in [*ROOT.glob("ringcheck/agent/*.py"), *others]]
    calls = r'(?:\b_?log\(\s*|\b_written\(|\byield )"([a-z_]+)"'
    used = {event for source in sources for event in re.findall(calls, source)}
    section = (ROOT / "docs" / "agent.md").read_text().partition("\n## The log\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert sorted(event for cell in cells for event in re.findall(r"`([a-z_]+)`", cell)) == sorted(used)
    assert {"started", "finding", "bug", "fleetlock"} <= used


def test_the_map_has_every_room() -> None:
    """docs/architecture.md draws each room and file at the top level of the package, and no others."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = re.findall(r"^ {6}([a-z_]+(?:/|\.py)) ", page, re.MULTILINE)
    package = ROOT / "ringcheck"
    rooms = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    files = [path.name for path in package.glob("*.py") if not path.stem.startswith("__")]
    assert sorted(drawn) == sorted(rooms + files)


def test_files_that_the_architecture_names_exist() -> None:
    """If a file is moved or renamed, the page must have its new name."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([a-z_]+/[a-z_/]*[a-z_]+\.(?:py|md|xml)|[a-z_]+/[a-z_/]*)`", page)
    assert len(named) > 50
    assert [path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "ringcheck"))] == []


def test_every_call_to_cassandra_is_documented() -> None:
    """The table in docs/install.md has every call of `jolokia/mbeans.py` beside its MBean, and no other call."""
    section = (ROOT / "docs" / "install.md").read_text().partition("\n### What is read\n")[2].partition("\n#")[0]
    documented, mbean = set(), ""
    for first, calls in re.findall(r"^\| (`[^|]+`)? ?\| (`[^|]+) \|", section, re.MULTILINE):
        mbean = first.strip("`") or mbean
        names = re.findall(r"`(\w+)(?:\(\))?`", calls)
        names += [f"{name}WithPort" for name in names] if "each `WithPort`" in calls else []
        documented |= {(mbean, name) for name in names if name != "WithPort"}
    documented = {call for call in documented if not call[1].endswith("WithPortWithPort")}
    assert documented == {(call.mbean, call.name) for call in (*CALLS, *COUNTED)}


def test_links_lead_somewhere() -> None:
    """Every relative link names a file of the repository."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_targets_that_are_named_exist() -> None:
    """Every `make NAME` on the pages is a target of the Makefile."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    named = {
        name for page in PAGES for name in re.findall(r"(?:`|^ {4}|; )make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test", "quick", "lock"} <= named <= targets
