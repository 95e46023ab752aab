"""Each command offers the options that it uses, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ringcheck.cli import ringcheck, run
from ringcheck.cli.options import TARGET_OPTIONS
from ringcheck.cli.target import Target
from ringcheck.jolokia.settings import DEFAULT_JMX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.jolokia.settings import JolokiaSettings

HEALTHY = str(Path(__file__).parents[1] / "snapshots" / "article-healthy.json")
LEASE = ("acquire", "break", "list", "release")
NOT_OFFERED = {
    "ring": {"keyspace"},
    "preflight": {"keyspace"},
    "plan": {"keyspace"},
    "snapshot": {"dc", "keyspace"},
    "nodes": {"dc", "keyspace"},
    "init": {"cluster", "config", "dc", "from_", "keyspace"},
    "doctor": {"dc", "from_", "keyspace"},
    "roll": {"from_", "keyspace"},
    "lease acquire": {"from_", "keyspace"},
    "history": {"dc", "from_", "host", "jmx", "jmx_password_file", "jmx_username", "keyspace", "proxy", "url"},
    "levels": {"dc", "from_", "host", "jmx", "jmx_password_file", "jmx_username", "keyspace", "proxy", "url"},
} | {f"lease {name}": {"dc", "from_", "keyspace"} for name in LEASE if name != "acquire"}
"""For each command, the fields of `Target` whose options would be refused or ignored."""

ARGUMENTS = {
    "ring": ["blog_3"],
    "preflight": ["10.0.0.1"],
    "lease acquire": ["10.0.0.1"],
    "lease release": ["10.0.0.1"],
    "lease break": ["10.0.0.1", "--reason", "x"],
    "roll": ["--exec", "restart {address}"],
}
NO_RECORDING = "a recorded snapshot has no restart leases, and none of its nodes can be restarted"
EVERY_KEYSPACE = "a node that stops takes a replica from every keyspace; --accept names those that may lose ranges"
REFUSED = [
    *((command, "--from", NO_RECORDING) for command in ("roll", *(f"lease {name}" for name in LEASE))),
    *((command, "--keyspace", EVERY_KEYSPACE) for command in ("nodes", "preflight", "plan", "roll", "lease acquire")),
]


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, including those of groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")


def offered(command: click.Command) -> set[str]:
    """The cluster options that are in the command's help."""
    return {
        option.name
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and option.name in TARGET_OPTIONS
    }


def test_every_cluster_option_is_offered_unless_it_has_no_use() -> None:
    """The list above is complete, and no command hides an option that it uses."""
    options_by_command = {name: offered(command) for name, command in commands(ringcheck)}
    using = {name: options for name, options in options_by_command.items() if "timeout" in options}
    lacking = {name: set(TARGET_OPTIONS) - options for name, options in using.items()}
    assert {name: options for name, options in lacking.items() if options} == NOT_OFFERED
    assert {"check", "health", "watch", "what-if", "risk"} <= lacking.keys()


@pytest.mark.parametrize(
    ("command", "name"), [(name, field) for name in NOT_OFFERED for field in sorted(NOT_OFFERED[name])]
)
def test_an_option_that_is_not_offered_is_an_error(command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the option, in its short and its long form, and the exit code is 3."""
    for flag in TARGET_OPTIONS[name][0]:
        assert run([*command.split(), *ARGUMENTS.get(command, []), flag, "x"]) == 3
        out, err = capsys.readouterr()
        assert err.startswith("UNKNOWN - usage: ")
        assert flag in err or max(TARGET_OPTIONS[name][0], key=len) in err
        assert err.endswith(f"(see ringcheck {command} --help)\n")
        assert (err.count("\n"), out) == (1, "")


@pytest.mark.parametrize(("command", "flag", "reason"), REFUSED)
def test_a_refused_option_comes_with_its_reason(
    command: str, flag: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is given before anything else is read, and even if an argument is missing."""
    assert run([*command.split(), flag, "x"]) == 3
    line = f"ringcheck {command} does not take {flag}: {reason}"
    assert capsys.readouterr().err == f"UNKNOWN - usage: {line} (see ringcheck {command} --help)\n"


@pytest.mark.parametrize(("command", "flag", "reason"), REFUSED)
def test_a_refused_variable_is_not_ignored(
    command: str, flag: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RINGCHECK_FROM set, `roll` must not restart the nodes of a real cluster."""
    variable = f"RINGCHECK_{flag.lstrip('-').upper()}"
    monkeypatch.setenv(variable, HEALTHY)
    assert run([*command.split(), *ARGUMENTS.get(command, []), "-H", "127.0.0.1:1"]) == 3
    assert f"ringcheck {command} does not take {flag} ({variable}): {reason}" in capsys.readouterr().err


def test_a_variable_without_meaning_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is set for `health` does not prevent or change what `snapshot` and `ring` do."""
    monkeypatch.setenv("RINGCHECK_KEYSPACE", "blog_1")
    monkeypatch.setenv("RINGCHECK_FROM", HEALTHY)
    assert run(["ring", "blog_3"]) == 0
    assert "keyspace blog_3 at" in capsys.readouterr().out
    monkeypatch.setenv("RINGCHECK_DC", "dc9")
    copy = tmp_path / "copy.json"
    assert run(["snapshot", "-o", str(copy)]) == 0
    assert "blog_1" in copy.read_text()
    assert "blog_3" in copy.read_text()


@pytest.mark.parametrize("command", ["roll", "lease break"])
def test_an_option_that_is_refused_is_not_suggested(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--from is similar to --format, but these commands do not take it."""
    assert run([*command.split(), "--format", "json"]) == 3
    line = f"UNKNOWN - usage: No such option '--format'. (see ringcheck {command} --help)\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("variables", "words", "text"),
    [
        (["HOST"], ["-C", "{bare}"], "no-contact.invalid"),
        (["URL", "PROXY"], ["-C", "{bare}"], "no-contact.invalid"),
        (["HOST"], ["--from", HEALTHY], "blogs: "),
        (["CONFIG"], ["-H", "127.0.0.1:1"], "http://127.0.0.1:1/jolokia: "),
        (["CLUSTER", "FROM"], ["-u", "http://127.0.0.1:1/j"], "http://127.0.0.1:1/j: "),
        (["HOST", "CONFIG"], [], "FILE (RINGCHECK_HOST, RINGCHECK_CONFIG are set)\n"),
        (["PROXY", "CLUSTER"], [], "FILE (RINGCHECK_PROXY, RINGCHECK_CLUSTER are set)\n"),
        (["URL"], ["-C", "{bare}", "-H", "x"], "FILE (RINGCHECK_URL is set)\n"),
        ([], ["-C", "{bare}", "-H", "x"], "or --from FILE\n"),
    ],
)
def test_the_command_line_overrules_variables_that_name_another_cluster(
    variables: list[str],
    words: list[str],
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cluster is the one that the command line names; what only variables name is in the error."""
    (tmp_path / "bare").write_text("clusters: {a: {jolokia: {contact_points: ['no-contact.invalid']}}}")
    for name in variables:
        monkeypatch.setenv(f"RINGCHECK_{name}", "http://127.0.0.2:1/x")
    run(["check", *(word.format(bare=tmp_path / "bare") for word in words)])
    out = capsys.readouterr().out
    assert text.replace("no-contact.invalid", "no-contact.invalid") in out
    assert "127.0.0.2" not in out


def test_no_command_without_a_recording_names_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no cluster is given, the line names only options that the command has."""
    monkeypatch.setattr("ringcheck.cli.target.DEFAULT_CONFIG", Path("/nowhere/ringcheck.yaml"))
    assert run(["lease", "list"]) == 3
    line = "no cluster is named; next: use -C FILE [--cluster NAME], -H HOST or -u URL"
    assert capsys.readouterr().err == f"UNKNOWN - {line}\n"


def settings(*options: str) -> JolokiaSettings:
    """The settings that these options of `check` give."""
    command = ringcheck.get_command(click.Context(ringcheck), "check")
    assert command is not None
    # click creates the option --help once per command: without -h here, later tests would see help that lacks it.
    values = command.make_context("check", list(options), help_option_names=["-h", "--help"]).params
    return Target(**{name: values[name] for name in TARGET_OPTIONS}).jolokia()


def test_a_proxy_without_a_configuration() -> None:
    """The port of -H is that of JMX, and the other nodes are asked at the same port."""
    proxy = ("--proxy", "http://127.0.0.1:8779/jolokia")
    default = settings("-H", "10.0.0.1", *proxy)
    assert (default.proxy, default.contact_points, default.jmx) == (proxy[1], ("10.0.0.1",), DEFAULT_JMX)
    assert settings("-H", "db1:7299", *proxy).url_of("10.0.0.2") == DEFAULT_JMX.replace(
        "{address}:7199", "10.0.0.2:7299"
    )
    own = "service:jmx:rmi:///jndi/rmi://{address}:9/x"
    assert settings("-H", "10.0.0.1", "--jmx", own, "--jmx-username", "me", *proxy).url_of("h") == own.replace(
        "{address}", "h"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--proxy", "http://h/"], "--proxy takes the nodes to start from with -H, not with -u"),
        (["--proxy", "http://h/", "-u", "http://h/"], "--proxy takes the nodes to start from with -H, not with -u"),
        (["--proxy", "http://h/", "-H", "h", "--jmx", "x"], "--jmx 'x' must contain {address}"),
        (["-H", "h", "--jmx-username", "me"], "--jmx, --jmx-username and --jmx-password-file need --proxy"),
        (["--proxy", "http://h/", "-C", "x"], "name the cluster in one way only"),
    ],
)
def test_options_of_a_proxy_that_do_not_fit(options: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is one line, and nothing is asked."""
    assert run(["check", *options]) == 3
    assert text in capsys.readouterr().out


def test_own_options_come_first_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Readers look for what the command can do; the options that choose a cluster are the same everywhere."""
    assert run(["health", "--help"]) == 0
    own, _, shared = capsys.readouterr().out.partition("\nCluster options:\n")
    assert "--ranges" in own
    assert "--config" not in own
    assert "--config" in shared
    assert "--ranges" not in shared
