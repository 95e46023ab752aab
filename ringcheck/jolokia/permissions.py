"""The middle steps of `doctor`: whether a Jolokia agent is Cassandra's, and allows the calls of check, gate and roll.

Every call of `mbeans.CALLS` that the node's release has is made once, in a form that costs the node little: lists and
maps are truncated, and operations get a keyspace that does not exist. `drain` is never sent, not even with wrong
arguments: newer releases of Jolokia take surplus arguments as a path into the result, and execute the operation.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ringcheck.core.words import NAMED, counted, listed
from ringcheck.errors import DataError, DeniedError, SourceError
from ringcheck.jolokia import mbeans, outcomes
from ringcheck.jolokia.client import RefusedError
from ringcheck.jolokia.endpoints import host_ids
from ringcheck.jolokia.proxy import place
from ringcheck.jolokia.reaching import StepError, refused_by_policy
from ringcheck.jolokia.settings import is_jmx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ringcheck.core.release import Release
    from ringcheck.jolokia.client import Client
    from ringcheck.jolokia.mbeans import Call, Request
    from ringcheck.jolokia.outcomes import Outcome

GATE = {(mbeans.STREAM_MANAGER, mbeans.STREAMS)}
ROLL = {
    (mbeans.RUNTIME, mbeans.START_TIME),
    (mbeans.STORAGE_SERVICE, mbeans.DRAIN),
    (mbeans.CLIENT_REQUESTS, mbeans.COUNT),
    (mbeans.HINTS_CREATED, mbeans.COUNT),
    (mbeans.HINTS_DELIVERED, mbeans.COUNT),
    (mbeans.CONNECTIONS, mbeans.VALUE),
}

_IDENTITY = ("ClusterName", "ReleaseVersion", "LocalHostId", "OperationMode")
_NO_KEYSPACE = "ringcheck_doctor"
_START_SECONDS = 300.0  # in seconds; a younger JVM may be a Cassandra that has not registered its MBeans yet
_MAX_SKEW = 10.0  # seconds
_WAIT = "wait until `nodetool status` lists the node as UN, and ask again"
_REFUSES_BULK = "the agent answers one request and refuses several at once"
_POLICY = "/etc/cassandra/jolokia-access.xml"


# What to do, by symptom; the last table of docs/jmx.md has the same advice.
_JMX_FIXES = {
    "jmx_refused": "start the node, or let its JMX listen on this address and port (docs/jmx.md)",
    "jmx_moved": "set -Djava.rmi.server.hostname on the node to an address that the proxy reaches, and allow "
    "com.sun.management.jmxremote.rmi.port in the firewall",
    "jmx_silent": "look at the node: its JVM hangs or is stopped",
    "jmx_packets": "allow connections from the proxy to this port in the firewall, or correct the address",
    "jmx_name": "make this name resolvable on the proxy's host, or use the address in `jmx`",
    "jmx_protocol": "start the proxy with --tls if the node's JMX uses TLS; otherwise correct the port in `jmx`",
    "jmx_tls": "give the proxy a --trust-store with the authority of the node's certificate (docs/jmx.md)",
    "jmx_login": "set `jmx_username` and `jmx_password_file` to those of the node's JMX",
    "jmx_target": "start `ringcheck jmx-proxy` with an --allow that matches this host",
}


class Permissions:
    """The steps for one agent that answers. Every step raises `StepError` if it fails."""

    def __init__(self, client: Client, url: str, ends: float, now: Callable[[], float] = time.time) -> None:
        """Prepare; nothing is sent.

        Args:
            client: sends the requests.
            url: of the agent.
            ends: monotonic time at which all steps must be over.
            now: seconds since the epoch by this host's clock.

        Attributes:
            release: of the node, once `cassandra` has found it.
            mode: its OperationMode; None if it is not known.
            host_id: the node's own; None if it is not known.
        """
        self.release: Release = mbeans.OLDEST
        self.mode: str | None = None
        self.host_id: str | None = None
        self._client = client
        self._url = url
        self._ends = ends
        self._now = now
        self._restricted = True
        self._timestamps: list[tuple[float, float]] = []  # by the node's clock, and by this host's

    # Requests

    def ask(self, request: Request) -> Outcome:
        """The outcome of one request; if it was refused, with the status of the HTTP answer.

        Raises:
            SourceError: if it is not answered.
            DataError: if the answer is not Jolokia's.
        """
        before = self._now()
        try:
            reply = self._client.stream(self._url, request, self._ends)
        except RefusedError as error:
            return outcomes.Outcome(status=400, error=str(error))
        stamp = reply.get("timestamp") if isinstance(reply, dict) else None
        if isinstance(stamp, int | float):
            self._timestamps.append((stamp, (before + self._now()) / 2))
        return outcomes.outcome(reply)

    # Steps

    def bulk(self) -> str:
        """Send several requests at once, as every poll does."""
        requests = mbeans.reads(_IDENTITY)
        fix = "look for a proxy or a firewall before the agent that changes or refuses JSON arrays"
        try:
            answered = outcomes.outcomes(self._client.post(self._url, requests, self._ends), len(requests))
        except DataError as error:
            raise StepError(f"{_REFUSES_BULK}: {error}", fix) from None
        except SourceError as error:
            if isinstance(error, RefusedError | DeniedError) and error.symptom not in _JMX_FIXES:
                raise StepError(f"{_REFUSES_BULK}: {error}", fix) from None
            if not is_jmx(self._url):
                raise
            text = f"{place(self._url)}: {str(error).removeprefix(place(self._url) + ': ')}"
            fix = _JMX_FIXES.get(error.symptom, "check the node's JMX; docs/jmx.md lists what goes wrong")
            raise StepError(text, fix) from None
        return f"{len(requests)} requests at once are answered" if answered else "one failed request ends all of them"

    def cassandra(self) -> str:
        """Find out which node it is."""
        answers = {name: self.ask(mbeans.read(mbeans.STORAGE_SERVICE, name)) for name in _IDENTITY}
        mode = answers["OperationMode"]
        if outcomes.is_missing_mbean(mode):
            raise self._no_cassandra()
        values = {name: answer.value if isinstance(answer.value, str) else None for name, answer in answers.items()}
        self.mode, self.host_id = values["OperationMode"], values["LocalHostId"]
        self.release = mbeans.release(values["ReleaseVersion"])
        if mode.status == outcomes.FORBIDDEN:  # since 2.0 the command `version` is allowed even if POST is not
            if fault := refused_by_policy(mode.error, "the address of this host"):
                raise fault
            return "the access policy hides which node it is"
        if self.mode == "STARTING" or mode.status == outcomes.THROWN:
            raise StepError("Cassandra is still starting", _WAIT)
        outcomes.text(mode.get("OperationMode"), "OperationMode")
        release, cluster, shown_mode = (
            outcomes.shortened(values[name]) for name in ("ReleaseVersion", "ClusterName", "OperationMode")
        )
        return f"Cassandra {release}, cluster {cluster}, {shown_mode}"

    def _no_cassandra(self) -> StepError:
        """Why StorageService is missing, judged by the JVM's other MBeans and its age."""
        age = self._age()
        found = self.ask({"type": "search", "mbean": "org.apache.cassandra.*:*", "config": mbeans.FEW})
        young = age is not None and age < _START_SECONDS
        if found.value or (found.status == outcomes.FORBIDDEN and young):
            text = "Cassandra is still starting: it has not registered its MBeans yet"
            return StepError(text, _WAIT)
        since = "" if age is None else f", and it has run for {age:.0f} s"
        text = f"the agent is in a JVM that is not Cassandra's: it has no MBean StorageService{since}"
        hint = "; if it is a Cassandra that has just been started, ask again" if young else ""
        return StepError(text, f"use the port of the agent in Cassandra's JVM: ss -ltnp and ps show which it is{hint}")

    def _age(self) -> float | None:
        """Seconds since the start of the JVM, by this host's clock; None if not known."""
        started = self.ask(mbeans.read(mbeans.RUNTIME, mbeans.START_TIME)).value
        return self._now() - started / 1000 if isinstance(started, int | float) else None

    def for_check(self) -> str:
        """Make the calls that every command needs."""
        return self._made(call for call in mbeans.CALLS if (call.mbean, call.name) not in GATE | ROLL)

    def for_gate(self) -> str:
        """Make the calls that the gate needs in addition."""
        return self._made(call for call in mbeans.CALLS if (call.mbean, call.name) in GATE)

    def for_roll(self) -> str:
        """Make the calls that a rolling restart needs in addition, except `drain`."""
        return self._made(call for call in mbeans.CALLS if (call.mbean, call.name) in ROLL and not call.writes)

    def _made(self, calls: Iterable[Call]) -> str:
        arguments = self._arguments()
        denied, missing, made = [], [], 0
        for call in calls:
            if call.since > self.release or (call.name not in arguments and call.kind == "exec"):
                continue
            answer = self.ask(_cheap(call, arguments))
            made += 1
            if answer.status == outcomes.FORBIDDEN:
                denied.append(call)
            elif _is_missing(call, answer):
                missing.append(call)
        if denied:
            names = listed([call.name for call in denied])
            raise StepError(f"the access policy denies {names}", _allowing(denied))
        if missing:
            names = listed([f"{call.name} of {call.mbean}" for call in missing])
            raise StepError(f"this node lacks {names}", "ask again when the node is up; report its release if it is")
        return f"{counted(made, 'call')} {'is' if made == 1 else 'are'} allowed"

    def _arguments(self) -> Mapping[str, tuple[str, ...]]:
        """Arguments of the operations that may be called; operations of the snitch only on a settled node."""
        names = (mbeans.RANGES, mbeans.RANGES_WITH_PORT, mbeans.PENDING, mbeans.PENDING_WITH_PORT, mbeans.REPLICATION)
        arguments = dict.fromkeys(names, (_NO_KEYSPACE,))
        own = self._own_address() if self.mode == "NORMAL" else None
        return arguments | (dict.fromkeys((mbeans.DATACENTER, mbeans.RACK), (own,)) if own else {})

    def _own_address(self) -> str | None:
        """The address under which the node knows itself; None if it can't be read."""
        known = self.ask(mbeans.read(mbeans.STORAGE_SERVICE, mbeans.HOST_IDS)).value
        with suppress(DataError):
            ids = host_ids(known, mbeans.HOST_IDS)
            return next((address for address, host_id in ids.items() if host_id == self.host_id), None)
        return None

    def policy(self) -> str:
        """Make a call that ringcheck does not need and that an access policy should refuse."""
        self._restricted = self.ask(mbeans.read(*mbeans.UNNEEDED)).status == outcomes.FORBIDDEN
        if self._restricted:
            return "an access policy is in force"
        text = "the agent has no access policy: everyone who can connect to it has full control of the node"
        fix = f"give it config/jolokia/jolokia-access.xml: policyLocation=file://{_POLICY} in -javaagent"
        raise StepError(text, fix, "ok")

    def drain(self) -> str:
        """Report what is known about `drain` without sending it."""
        if not self._restricted:
            return "not executed; there is no access policy that could deny it"
        text = "not executed, and only drain itself could show whether the access policy allows it"
        raise StepError(text, f"only if you use `ringcheck roll`, look on the node: grep drain {_POLICY}", "skipped")

    def clock(self) -> str:
        """Compare the node's clock with this host's."""
        if not self._timestamps:
            raise StepError("no answer of the agent has a time", status="skipped")
        node, here = self._timestamps[-1]
        ahead = node - here
        if abs(ahead) > _MAX_SKEW:
            where = "ahead of" if ahead > 0 else "behind"
            text = f"the node's clock is {abs(ahead):.0f} s {where} the clock of this host"
            raise StepError(text, "set both by NTP: chronyc tracking, or timedatectl, shows which of them is wrong")
        return f"the node's clock and this host's differ by less than {_MAX_SKEW:g} s"


def _cheap(call: Call, arguments: Mapping[str, tuple[str, ...]]) -> Request:
    """A request for a call that returns little."""
    request = (
        mbeans.read(call.mbean, call.name)
        if call.kind == "read"
        else mbeans.run(call.mbean, call.name, *arguments[call.name])
    )
    return request | {"config": mbeans.FEW}


def _is_missing(call: Call, answer: Outcome) -> bool:
    """Whether the node lacks an attribute or operation.

    MBeans for logins exist only if clients log in, and metrics only after something was measured.
    """
    if call.mbean.startswith(mbeans.METRICS):
        return False
    if call.kind == "read":
        return answer.status == outcomes.NOT_FOUND and (call.mbean, call.name, call.since) not in mbeans.LOGINS
    return outcomes.is_missing_mbean(answer) or "NoSuchMethod" in answer.error_type or "No operation" in answer.error


def _allowing(calls: Iterable[Call]) -> str:
    """What to add to an access policy; if much is missing, to replace it."""
    calls = list(calls)
    if len(calls) > NAMED:
        return "replace the agent's access policy with config/jolokia/jolokia-access.xml, and restart the agent"
    by_mbean: dict[str, list[str]] = {}
    for call in calls:
        tag = f'<attribute mode="read">{call.name}</attribute>' if call.kind == "read" else _operation(call.name)
        by_mbean.setdefault(call.mbean, []).append(tag)
    beans = "".join(f"<mbean><name>{name}</name>{''.join(tags)}</mbean>" for name, tags in by_mbean.items())
    return f"add to <allow> of the agent's access policy (see {_POLICY}), and restart the agent: {beans}"


def _operation(name: str) -> str:
    return f"<operation>{name}</operation>"
