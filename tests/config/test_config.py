"""The configuration: a bad file for each rule with its exact message, and good files with their values."""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.cli import run
from ringcheck.config import ConfigErrors, load, parsing, schema
from ringcheck.config.values import Fleetlock
from ringcheck.core.consistency import Level
from ringcheck.core.policy import NagiosRange, Rule, Threshold
from ringcheck.core.ring import Replication
from ringcheck.errors import UsageError
from ringcheck.http.credentials import secret
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.replay.settings import ReplaySettings
from tests.conftest import examples

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "config" / "ringcheck.yaml"
BAD = sorted(path.name for path in (HERE / "bad").glob("*.yaml"))
# What a schema can't express: text that is lost in a parsed document, files, and rules about several keys.
BEYOND_A_SCHEMA = {
    "webhooks-twice.yaml",
    "alias-of-itself.yaml", "aliases-of-aliases.yaml", "ca-missing.yaml", "certificate-readable.yaml",
    "cluster-name-is-a-number.yaml", "cluster-name-is-no.yaml", "clusters-from-missing.yaml",
    "clusters-from-twice.yaml", "contact-point-ipv4.yaml", "contact-point-ipv6.yaml", "contact-point-port.yaml",
    "contact-point-with-path.yaml", "credentials-not-set.yaml", "duplicate-cluster.yaml", "duplicate-key.yaml",
    "file-nul.yaml", "flag-yes.yaml", "fleetlock-name.yaml", "fleetlock-same-group.yaml",
    "interval-too-short.yaml", "jmx-user-without-password.yaml", "lease-file-nowhere.yaml",
    "lease-tls-with-http.yaml", "merge-key.yaml", "nodes-jmx-without-proxy.yaml", "nodes-name.yaml",
    "fleetlock-replay.yaml", "nodes-same-url.yaml", "nodes-twice.yaml", "observed-replay.yaml",
    "password-is-a-folder.yaml", "password-missing.yaml",
    "password-readable.yaml", "replay-nowhere.yaml",
    "replication-everywhere.yaml", "replication-network.yaml", "replication-octal.yaml", "replication-simple.yaml",
    "replication-strategy.yaml", "replication-transient.yaml", "share-never-alerts.yaml", "text-of-lines.yaml",
    "sensu-ttl.yaml", "threshold-never-alerts.yaml", "timeout-zero.yaml",
    "tls-with-http-proxy.yaml", "tls-with-http.yaml", "url-port.yaml",
    "username-alone.yaml",
}  # fmt: skip


def messages() -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in (HERE / "bad" / "messages.txt").read_text().splitlines():
        name, _, message = line.partition(" ")
        found[name].append(message)
    return found


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bad files, with a secret beside them, and a secret that everybody can read."""
    folder = tmp_path_factory.mktemp("config") / "bad"
    shutil.copytree(HERE / "bad", folder)
    for name, mode in (("secret", 0o600), ("open-secret", 0o644)):
        (folder / name).write_text("s3cret\n")
        (folder / name).chmod(mode)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_an_exact_message(name: str, bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mistake is reported with file, line, column and a message of its own."""
    monkeypatch.chdir(bad)
    with pytest.raises(ConfigErrors) as caught:
        load(name)
    expected = messages()[name]
    shortened = [
        error if "not YAML: " not in error else error.partition("not YAML: ")[0] + "not YAML"
        for error in caught.value.errors
    ]
    assert shortened == expected
    more = f" (and {len(expected) - 1} more)" if len(expected) > 1 else ""
    assert str(caught.value).startswith(expected[0])
    assert str(caught.value).endswith(more)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_both_loaders_report_the_same(name: str, bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If PyYAML was built without libyaml, only the reasons why a file is not YAML differ."""
    monkeypatch.chdir(bad)
    monkeypatch.setattr(parsing, "_LOADER", yaml.SafeLoader)
    with pytest.raises(ConfigErrors) as caught:
        load(name)
    assert [error.partition("not YAML")[0] for error in caught.value.errors] == [
        line.partition("not YAML")[0] for line in messages()[name]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("loader", [parsing._LOADER, yaml.SafeLoader])
@pytest.mark.parametrize("count", [32, 999, 1_000, 1_001, 200_000])
@pytest.mark.parametrize(("opened", "column"), [("[", 32), ("{a: ", 31 * 4 - 2), ("- ", 32 * 2 - 1)])
def test_nesting_without_end_has_one_message(
    opened: str, column: int, count: int, *, loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some parsers would crash with a segmentation fault, others have limits with their own messages."""
    monkeypatch.setattr(parsing, "_LOADER", loader)
    file = tmp_path / "nested.yaml"
    file.write_text(opened * count)
    with pytest.raises(ConfigErrors) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}:1:{column}: is nested too deeply"


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("a: *\n", '1:4: not YAML: write "*" in quotes'),
        ("a:\n\tb: c\n", "2:1: not YAML: indent with spaces, not with a tab"),
        ("a: @1:3\n", "1:4: not YAML: write what begins with @ in quotes"),
    ],
)
def test_common_mistakes_have_a_hint(written: str, line: str, tmp_path: Path) -> None:
    """The message says how to fix the mistake, which messages of YAML parsers do not."""
    file = tmp_path / "mistake.yaml"
    file.write_text(written)
    with pytest.raises(ConfigErrors) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}:{line}"


def test_aliases_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """Clusters may share values by aliases, and a file may begin with the byte order mark of Windows editors."""
    file = tmp_path / "shared.yaml"
    cluster = "{jolokia: {contact_points: h}, monitor: %s}"
    file.write_text(
        f"clusters:\n  a: {cluster % '&rules [{keyspaces: k, critical: ONE}]'}\n  b: {cluster % '*rules'}\n",
        encoding="utf-8-sig",
    )
    found = load(str(file)).clusters
    assert found["a"].policy == found["b"].policy
    assert found["b"].policy.rules == (Rule(keyspaces=("k",), critical=Threshold(Level.ONE)),)


def test_a_configuration_may_come_from_a_pipe() -> None:
    """`-C <(generate)` works, and an endless file is read only up to a limit."""
    with pytest.raises(ConfigErrors, match="/dev/zero: larger than 1 MiB"):
        load("/dev/zero")
    end, begin = os.pipe()
    os.write(begin, b"clusters: {a: {jolokia: {contact_points: h}}}")
    os.close(begin)
    assert list(load(f"/dev/fd/{end}").clusters) == ["a"]
    os.close(end)


def test_every_message_has_its_file() -> None:
    """There is a bad file for each message, and a message for each bad file."""
    assert sorted(messages()) == BAD


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(BAD) - BEYOND_A_SCHEMA))
def test_the_schema_refuses_what_it_can(name: str) -> None:
    """An editor with the schema marks the same mistakes, except those listed above."""
    try:
        document = yaml.safe_load((HERE / "bad" / name).read_text())
    except yaml.YAMLError:
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [EXAMPLE, *sorted((EXAMPLE.parent / "conf.d").glob("*.yaml"))], ids=lambda one: one.name
)
def test_the_examples_are_good(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped examples load, and validate against a valid schema."""
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text()))
    assert run(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ok, ")


def test_the_values_of_the_example() -> None:
    """It has rules in their order, thresholds, replication, the gate, and the file of another team."""
    found = load(str(EXAMPLE))
    assert sorted(found.clusters) == ["legacy", "orders-prod", "search-prod"]
    orders, legacy = found.clusters["orders-prod"], found.clusters["legacy"]
    assert orders.name == "orders-prod"
    assert orders.policy.rules == (
        Rule(
            keyspaces=("payments", "orders_*"),
            critical=Threshold(Level.LOCAL_QUORUM),
            warning=Threshold(Level.LOCAL_ALL),
        ),
        Rule(keyspaces=("scratch",), ignore=True),
        Rule(
            keyspaces=("*",),
            critical=Threshold(Level.LOCAL_ONE),
            warning=Threshold(Level.LOCAL_QUORUM),
            warning_failures_left=1,
        ),
    )
    assert orders.policy.client_datacenters == ("dc1",)
    assert (orders.gate.accept, orders.gate.settle, orders.stable_readings) == (("scratch",), 45.0, 3)
    assert jolokia_of(orders).timeout == 10.0
    assert jolokia_of(legacy).contact_points == ("[2001:db8::1]:8778", "cassandra-7.example.org")
    assert legacy.replication["users"] == Replication.parse("NetworkTopologyStrategy {dc1=3, dc2=3}")
    assert legacy.replication["sessions"] == Replication.parse("SimpleStrategy {replication_factor=2}")
    assert legacy.replication["dse_system"] == Replication.parse("EverywhereStrategy {}")
    assert legacy.policy.rules[0].critical == Threshold(
        Level.LOCAL_QUORUM, NagiosRange(0, 10), NagiosRange(0, 1)
    )  # fmt: skip


def jolokia_of(cluster: Cluster) -> JolokiaSettings:
    assert isinstance(cluster.source, JolokiaSettings)
    return cluster.source


def test_recordings_are_a_source(tmp_path: Path) -> None:
    """A cluster may be replayed from a directory, given relative to the file, instead of asked over Jolokia."""
    (tmp_path / "outage").mkdir()
    file = tmp_path / "ringcheck.yaml"
    file.write_text("clusters: {a: {replay: {directory: outage, speed: 60}}, b: {replay: {directory: outage}}}\n")
    clusters = load(str(file)).clusters
    assert clusters["a"].source == ReplaySettings(directory=str(tmp_path / "outage"), speed=60)
    assert clusters["b"].source == ReplaySettings(directory=str(tmp_path / "outage"))


def test_settings_hold_the_password_and_hide_it(tmp_path: Path) -> None:
    """The password is read from its file, and is not in the repr."""
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "password").chmod(0o600)
    file = tmp_path / "ringcheck.yaml"
    file.write_text("clusters: {a: {jolokia: {contact_points: h, username: u, password_file: password}}}\n")
    settings = jolokia_of(load(str(file)).clusters["a"])
    assert settings.basic_auth() == ("u", "s3cret")
    assert "s3cret" not in repr(settings)


def test_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is looked up among the credentials of systemd."""
    (tmp_path / "jolokia").write_text("s3cret")
    (tmp_path / "jolokia").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret("jolokia") == "s3cret"
    (tmp_path / "jolokia").chmod(0o444)
    with pytest.raises(UsageError, match="can be read by everybody"):
        secret("jolokia")


@pytest.mark.parametrize("written", ["jolokia", "$CREDENTIALS_DIRECTORY/jolokia"])
def test_a_password_among_the_credentials_of_systemd(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bare name refers to it even if a file of that name lies beside the configuration; so does the variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    (tmp_path / "credentials").mkdir()
    for folder in (tmp_path, tmp_path / "credentials"):
        (folder / "jolokia").write_text(folder.name)
        (folder / "jolokia").chmod(0o400)
    file = tmp_path / "r.yaml"
    file.write_text(f"clusters: {{a: {{jolokia: {{contact_points: h, username: u, password_file: {written}}}}}}}")
    assert jolokia_of(load("r.yaml").clusters["a"]).basic_auth() == ("u", "credentials")
    (tmp_path / "credentials" / "jolokia").unlink()
    if written == "jolokia":
        assert jolokia_of(load("r.yaml").clusters["a"]).basic_auth() == ("u", tmp_path.name)


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n", "is empty: it should hold a password"), (b"\xff", "it is not UTF-8")]
)
def test_a_password_file_without_a_password_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    """Requests without a password, or with a wrong one, could lock the account."""
    (tmp_path / "p").write_bytes(content)
    (tmp_path / "p").chmod(0o400)
    with pytest.raises(UsageError, match=message):
        secret(str(tmp_path / "p"))


@pytest.mark.parametrize(
    ("patterns", "shadowed"),
    [
        (["*", "late"], "late"),
        (["orders_*", "orders_?"], "orders_?"),
        (["orders_1", "orders_1"], "orders_1"),
        (["orders_?", "orders_*"], None),
        (["orders_[12]", "orders_1"], None),
        (["late", "*"], None),
    ],
)
def test_rules_that_never_apply(patterns: list[str], shadowed: str | None, tmp_path: Path) -> None:
    """Only rules that certainly never apply are reported."""
    rules = ", ".join(f"{{keyspaces: '{pattern}', critical: ONE}}" for pattern in patterns)
    (tmp_path / "r.yaml").write_text(f"clusters: {{a: {{jolokia: {{contact_points: h}}, monitor: [{rules}]}}}}")
    warnings = [warning.partition(": ")[2] for warning in load(str(tmp_path / "r.yaml")).warnings]
    assert warnings == ([f"the rule for {shadowed} never applies: {patterns[0]!r} comes first"] if shadowed else [])


@pytest.mark.parametrize(
    ("rule", "warning"),
    [
        (
            "critical: LOCAL_QUORUM, warning: LOCAL_ONE",
            "LOCAL_ONE never warns before LOCAL_QUORUM is critical: LOCAL_ALL",
        ),
        ("critical: LOCAL_ONE, warning: LOCAL_ONE", "LOCAL_ONE never warns before LOCAL_ONE is critical: LOCAL_QUORUM"),
        ("critical: ALL, warning: QUORUM", "QUORUM never warns before ALL is critical: leave it out"),
        (
            "critical: QUORUM, warning: {level: QUORUM, ranges: '5'}",
            "QUORUM never warns before QUORUM is critical: ALL",
        ),
        ("critical: LOCAL_ONE, warning: LOCAL_QUORUM", None),
        ("critical: LOCAL_QUORUM, warning: QUORUM", None),
        ("critical: QUORUM, warning: LOCAL_QUORUM", None),
        ("critical: {level: QUORUM, ranges: '5'}, warning: QUORUM", None),
        ("critical: {level: QUORUM, share: 5%}, warning: ONE", None),
        ("critical: auto, warning: LOCAL_ONE", None),
        ("critical: LOCAL_QUORUM, warning: auto", None),
        ("critical: LOCAL_ONE, warning: LOCAL_ONE, warning_failures_left: 1", None),
        ("critical: LOCAL_ONE", None),
        ("warning: LOCAL_ONE", None),
    ],
)
def test_a_warning_that_never_comes_first(rule: str, warning: str | None, tmp_path: Path) -> None:
    """It is reported at the warning, and the configuration can be used."""
    file = tmp_path / "r.yaml"
    file.write_text(f"clusters:\n  a:\n    jolokia: {{contact_points: h}}\n    monitor: [{{keyspaces: '*', {rule}}}]\n")
    column = file.read_text().splitlines()[-1].find("warning: ") + len("warning: ") + 1
    found = load(str(file)).warnings
    if warning is None:
        assert found == ()
    else:
        step = "" if warning.endswith("out") else " would"
        assert found == (f"{file}:4:{column}: {warning}{step}",)


@pytest.mark.parametrize(("level", "warnings"), [("ALL", 1), ("LOCAL_ALL", 1), ("EACH_QUORUM", 0)])
def test_a_gate_that_lets_no_node_stop(level: str, warnings: int, tmp_path: Path) -> None:
    """The level is legal, but refuses every restart."""
    file = tmp_path / "r.yaml"
    file.write_text(f"clusters: {{a: {{jolokia: {{contact_points: h}}, gate: {{level: {level}}}}}}}")
    text = f"{file}:1:60: {level} needs every replica, so the gate lets no node stop: name a lower level"
    assert load(str(file)).warnings == (text,) * warnings


def test_patterns_of_files_are_those_of_a_shell(tmp_path: Path) -> None:
    """They match neither the file itself nor hidden files; a pattern without a match is a warning."""
    cluster = "{{{}: {{jolokia: {{contact_points: h}}}}}}"
    (tmp_path / "top.yaml").write_text(f"clusters: {cluster.format('a')}\nclusters_from: ['*.yaml', 'none/*.yaml']")
    (tmp_path / "part.yaml").write_text(f"clusters: {cluster.format('b')}")
    (tmp_path / ".part.yaml").write_text("nonsense")
    found = load(str(tmp_path / "top.yaml"))
    assert list(found.clusters) == ["a", "b"]
    assert found.warnings == (f"{tmp_path}/top.yaml:1:1: clusters_from: no file matches none/*.yaml",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "1:1: is not UTF-8: byte 0 is 0xff"),
        (b"a" * (1 << 20) + b"a", " larger than 1 MiB, which is too large for a configuration"),
    ],
)
def test_files_that_are_not_text(content: bytes, message: str, tmp_path: Path) -> None:
    """Their message says that they can't be a configuration."""
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigErrors) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}:{message}"


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command reports it in one line, with exit code 3."""
    assert run(["check", "-C", "/nowhere/r.yaml"]) == 3
    assert run(["config", "check", "/nowhere/r.yaml"]) == 3
    out = capsys.readouterr().out.splitlines()
    assert out == [
        (
            "UNKNOWN - there is no configuration /nowhere/r.yaml; next: "
            "name another file with -C, or write one with `ringcheck init`"
        ),
        "/nowhere/r.yaml: there is no such file; `ringcheck init` writes a first one",
    ]


def test_check_reports_all_mistakes(
    bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`config check` prints a line for each mistake, with exit code 3."""
    monkeypatch.chdir(bad)
    assert run(["config", "check", "several.yaml"]) == 3
    assert capsys.readouterr().out.splitlines() == messages()["several.yaml"]


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(data=st.data())
def test_any_file_is_read_or_reported(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A randomly changed file is a configuration that the schema accepts too, or has errors with their positions."""
    pieces = sorted({word for line in EXAMPLE.read_text().splitlines() for word in re.findall(r"\S+|\s+", line)})
    text = EXAMPLE.read_text().replace('clusters_from: "conf.d/*.yaml"', "")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from([*pieces, "*", "&a ", "*a", "{", "]", "null", "0x1F", "!t ", "\t", "é", "\x00"])
        )
        text = text[:start] + piece + text[start + data.draw(st.integers(0, 12)) :]
    file = tmp_path_factory.getbasetemp() / "mutant.yaml"
    file.write_text(text)
    errors = mistakes(file)
    assert all(re.fullmatch(rf"{re.escape(str(file))}:\d+:\d+: [^\n]{{1,420}}", line) for line in errors)
    if not errors:
        document = yaml.load(text, Loader=parsing._LOADER)  # noqa: S506 - a safe one, but not as strict about tabs
        jsonschema.Draft202012Validator(schema()).validate(document)


def mistakes(file: Path) -> tuple[str, ...]:
    try:
        load(str(file))
    except ConfigErrors as error:
        return error.errors or ("an error that says nothing",)
    return ()


def test_warnings_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There are warnings about certificates that are not verified, and about rules that never apply."""
    file = tmp_path / "r.yaml"
    file.write_text(
        "clusters:\n"
        "  a:\n"
        "    jolokia: {contact_points: h, tls: {insecure_skip_verify: true}}\n"
        "    monitor: [{keyspaces: '*', critical: ONE}, {keyspaces: late, critical: ONE}]\n"
    )
    assert run(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}:3:39: insecure_skip_verify: server certificates are not verified (warning)",
        f"{file}:4:48: the rule for late never applies: '*' comes first (warning)",
        f"{file}: ok, 1 cluster",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "has 3 clusters; next: choose one with --cluster (legacy, orders-prod, search-prod)"),
        (["--cluster", "orders"], "has no cluster 'orders' (did you mean orders-prod?)"),
    ],
)
def test_one_of_several_clusters_must_be_chosen(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With several clusters, --cluster must name one of them."""
    assert run(["check", "-C", str(EXAMPLE), *arguments]) == 3
    assert capsys.readouterr().out == f"UNKNOWN - {EXAMPLE} {line}\n"


def test_clients_of_fleetlock_have_nodes(tmp_path: Path) -> None:
    """They are given by address or host id, each in its canonical form; the group is None unless it is set."""
    file = tmp_path / "c.yaml"
    file.write_text(
        "clusters:\n  a:\n    jolokia: {contact_points: h}\n    lease: {file: leases}\n"
        "    fleetlock: {nodes: {c988d2509fdf5cdcbed39037c56406fb: 10.0.0.1, "
        'v6: "2001:DB8::0:1", id: 6D194555-F6EB-41D0-C000-000000000001}}\n'
        "  b:\n    jolokia: {contact_points: h}\n    lease: {file: leases}\n"
        "    fleetlock: {group: default, nodes: {x: 10.0.0.1}}\n"
    )
    found = load(str(file)).clusters
    assert found["a"].fleetlock == Fleetlock(
        {
            "c988d2509fdf5cdcbed39037c56406fb": "10.0.0.1",
            "v6": "2001:db8::1",
            "id": "6d194555-f6eb-41d0-c000-000000000001",
        }
    )
    assert found["b"].fleetlock == Fleetlock({"x": "10.0.0.1"}, "default")


AUTO = """
clusters:
  orders:
    jolokia: {contact_points: 10.0.0.1}
    client_datacenters: auto
    monitor:
      - {keyspaces: payments, critical: QUORUM, warning: auto}
      - {keyspaces: clicks, critical: {level: auto, share: "1%"}}
      - {keyspaces: "*", critical: auto, warning: auto}
    observed: {window: 1d, least: 10, every: 30s, prometheus: "http://prometheus", query: spans, labels: {level: cl}}
  plain:
    jolokia: {contact_points: 10.0.0.1}
    monitor: {keyspaces: "*", critical: auto}
  fixed:
    jolokia: {contact_points: 10.0.0.1}
"""


def test_levels_can_follow_the_queries(tmp_path: Path) -> None:
    """Until something is known, an `auto` tier has a default level; a rule that is only `auto` has other defaults."""
    file = tmp_path / "ringcheck.yaml"
    file.write_text(AUTO)
    clusters = load(str(file)).clusters
    payments, clicks, others = clusters["orders"].policy.rules
    assert (payments.auto, payments.warning) == (frozenset({"warning"}), Threshold(Level.ALL))
    assert (clicks.auto, clicks.warning) == (frozenset({"critical"}), None)
    assert clicks.critical == Threshold(Level.LOCAL_ONE, None, NagiosRange.parse("1"))
    assert others.levels == (Level.LOCAL_ONE, Level.LOCAL_QUORUM)
    assert clusters["orders"].policy.auto_datacenters
    assert clusters["orders"].policy.client_datacenters == ()
    observing = clusters["orders"].observing
    assert observing
    assert (observing.following.window, observing.following.least, observing.every) == (86400.0, 10, 30.0)
    assert observing.prometheus
    assert (observing.prometheus.labels.level, observing.prometheus.labels.keyspace[0]) == (("cl",), "db_namespace")
    plain = clusters["plain"].observing
    assert plain
    assert (plain.following.window, plain.prometheus) == (7 * 86400.0, None)
    assert clusters["fixed"].observing is None
