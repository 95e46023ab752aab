"""Jolokia's protocol: takes requests and makes replies as the agents 1.7.2 and 2.2.9 write them.

Owns JSON envelopes, bulk requests, limits, the access policy and the texts of Jolokia's own errors; knows nothing of
sockets. What MBeans answer is in `mbeans`.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from ringcheck.simulator.mbeans import (
    BEANS,
    ILLEGAL,
    SNITCH,
    Bean,
    BeanError,
    EncodedValue,
    MBeanOperation,
    MBeanQuestion,
    SlowValue,
    canonical,
    covers,
    encode,
    matching,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.simulator.cluster import EmbeddedCluster, SimAgent, SimNode

EXCEEDED = "[Object limit exceeded]"
TYPES = {"read", "exec", "version", "list", "search", "write", "notification", "regsec", "none"}
CONTENT_TYPES = {"1": "text/plain; charset=utf-8", "2": "application/json; charset=utf-8"}
LIMITS = ("maxCollectionSize", "maxObjects", "maxDepth")
CHALLENGE = 'Basic realm="jolokia", charset="UTF-8"'


@dataclass(slots=True)
class SimReply:
    """An HTTP answer.

    Attributes:
        status: HTTP status.
        content_type: header of that name; None for none.
        chunks: the body in pieces, so that large shared pieces are not copied.
        headers: further headers.
        seconds: how long the node works on the answer.
    """

    status: int
    _: KW_ONLY
    content_type: str | None
    chunks: list[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class BadRequestError(Exception):
    """A request that Jolokia 2 cannot parse; it answers HTTP 400 with a text."""


def answer(
    cluster: EmbeddedCluster, node: SimNode, path: str, query: str, body: bytes | None, authorization: str | None
) -> SimReply:
    """A node's answer to one HTTP request.

    Args:
        cluster: that the node belongs to.
        node: that is asked.
        path: of a GET, below the agent's context: `read/...`.
        query: of the URL.
        body: of a POST; None for a GET.
        authorization: the header of that name, if any.
    """
    if not _authorized(node.agent, authorization):
        return SimReply(401, content_type=None, chunks=[b""], headers={"WWW-Authenticate": CHALLENGE})
    with cluster.lock:
        now = cluster.now()
        cluster.settle(now)
        session = _Session(MBeanQuestion(cluster, node, now), dict(parse_qsl(query)))
        try:
            chunks = session.get(path) if body is None else session.post(body)
        except BadRequestError as error:
            text = f"400 (Bad Request)\n\n{error}\n"
            return SimReply(400, content_type="text/plain; charset=utf-8", chunks=[text.encode()])
        return SimReply(200, content_type=CONTENT_TYPES[node.agent.line], chunks=chunks, seconds=session.seconds)


def _authorized(agent: SimAgent, authorization: str | None) -> bool:
    if agent.user is None:
        return True
    expected = base64.b64encode(f"{agent.user}:{agent.password}".encode()).decode()
    return authorization == f"Basic {expected}"


class _Session:
    """The handling of one HTTP request."""

    def __init__(self, asked: MBeanQuestion, options: dict[str, str]) -> None:
        self._asked = asked
        self._agent = asked.node.agent
        self._options = options
        self.seconds = 0.0

    def get(self, path: str) -> list[bytes]:
        request = parse_path(path)
        try:
            return self._item(request)
        except BeanError as error:
            return [self._failure(None, error)]

    def post(self, body: bytes) -> list[bytes]:
        try:
            payload = json.loads(body)
        except ValueError:
            return self._unusable(f"Invalid JSON request {body[:60].decode(errors='replace')}")
        try:
            return self._bulk(payload) if isinstance(payload, list) else self._item(payload)
        except BeanError as error:  # a java.lang.Error: one object in place of all answers
            return [self._failure(None, error)]

    def _bulk(self, requests: list[Any]) -> list[bytes]:
        chunks: list[bytes] = []
        for request in requests:
            chunks += [b",", *self._item(request)]
        return [b"[", *chunks[1:], b"]"]

    def _unusable(self, message: str) -> list[bytes]:
        if self._agent.line == "2":
            raise BadRequestError(message)
        return [self._failure(None, BeanError(400, ILLEGAL, message))]

    def _item(self, request: Any) -> list[bytes]:  # noqa: ANN401 - any JSON value
        if not isinstance(request, dict) or request.get("type") not in TYPES:
            kind = request.get("type") if isinstance(request, dict) else request
            return self._unusable(f"No type with name '{kind}' exists")
        if request["type"] in {"read", "exec", "search", "write"} and not request.get("mbean"):
            name = "Objectname" if self._agent.line == "1" else "Object name"
            return [self._failure(None, BeanError(400, ILLEGAL, f"{name} can not be null"))]
        try:
            echo, value = self._run(request)
        except BeanError as error:
            if error.fatal:
                raise
            return [self._failure(_echo(request), error)]
        return self._success(echo, value)

    def _run(self, request: dict[str, Any]) -> tuple[bytes, bytes]:
        """The request as the reply repeats it, and the value; both encoded."""
        echo = _echo(request)
        value = self._perform(request)
        if isinstance(value, SlowValue):
            self.seconds += value.seconds
            value = value.value
        limits = self._limits(request)
        if any(limits.values()):
            plain = value.value if isinstance(value, EncodedValue) else value
            return echo, encode(Limiter(limits).cut(plain))
        return echo, value.text if isinstance(value, EncodedValue) else encode(value)

    def _perform(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        kind = request["type"]
        if kind == "version":
            return version(self._asked.node)
        self._check_command(kind)
        if kind == "list":
            return {}
        if kind == "search":
            return matching(self._asked, canonical(request["mbean"]))
        name = canonical(request["mbean"])
        self._check_policy(kind, name, request)
        if kind == "read":
            return self._read(name, request)
        if kind == "exec":
            return self._exec(name, request)
        raise BeanError(400, ILLEGAL, f"Cannot {kind} here")

    # --- access policy

    def _check_command(self, kind: str) -> None:
        if self._agent.allowed is not None and kind in {"list", "search"}:
            raise BeanError(403, "java.lang.Exception", f"Command type {kind.upper()} not allowed due to policy used")

    def _check_policy(self, kind: str, name: str, request: dict[str, Any]) -> None:
        if self._agent.allowed is None:
            return
        allowed = {member for rule, members in self._agent.allowed.items() if covers(rule, name) for member in members}
        wanted = request.get("operation") if kind == "exec" else request.get("attribute")
        for member in wanted if isinstance(wanted, list) else [wanted]:
            if kind == "write" or member not in allowed:
                raise BeanError(403, "java.lang.Exception", FORBIDDEN[kind].format(member, name))

    # --- reading

    def _read(self, name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        attribute = request.get("attribute")
        if "*" in name or "?" in name:
            return self._read_pattern(name, attribute, request["mbean"])
        bean = self._bean(name, request["mbean"])
        if attribute is None:
            attribute = [
                member for member, described in bean.attributes.items() if described.known(self._asked.release)
            ]
        if not isinstance(attribute, list):
            return self._attribute(bean, attribute)
        config = request.get("config") or {}
        lenient = str(config.get("ignoreErrors", self._options.get("ignoreErrors"))).lower() == "true"
        return {member: self._attribute_or_error(bean, member, lenient=lenient) for member in attribute}

    def _read_pattern(self, pattern: str, attribute: Any, written: str) -> dict[str, Any]:  # noqa: ANN401 - names
        values: dict[str, Any] = {}
        for name in matching(self._asked, pattern):
            bean = BEANS[name]
            wanted = attribute if isinstance(attribute, list) else [attribute] if attribute else bean.attributes
            members = [member for member in wanted if member in bean.attributes]
            if members:
                values[name] = {member: plain(self._attribute(bean, member)) for member in members}
        if not values:
            message = f"No MBean with pattern {written} found for reading attributes"
            raise BeanError(404, "javax.management.InstanceNotFoundException", message)
        return values

    def _attribute_or_error(self, bean: Bean, name: str, *, lenient: bool) -> Any:  # noqa: ANN401 - any JSON value
        try:
            return plain(self._attribute(bean, name))
        except BeanError as error:
            if not lenient or error.fatal:
                raise
            return f"ERROR: {error.message} (class {error.kind})"

    def _attribute(self, bean: Bean, name: str) -> Any:  # noqa: ANN401 - any JSON value
        attribute = bean.attributes.get(name)
        if attribute is None or not attribute.known(self._asked.release):
            raise BeanError(404, "javax.management.AttributeNotFoundException", f"No such attribute: {name}")
        return attribute.read(self._asked)

    def _bean(self, name: str, written: str) -> Bean:
        bean = BEANS.get(name)
        phase, cassandra = self._asked.phase, name.startswith("org.apache.cassandra")
        early = cassandra and (phase == "unregistered" or (phase == "snitch" and name != SNITCH))
        if bean is None or early or not bean.registered(self._asked):
            raise BeanError(404, "javax.management.InstanceNotFoundException", written)
        return bean

    # --- calling

    def _exec(self, name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        bean, asked = self._bean(name, request["mbean"]), request.get("operation") or ""
        arguments = request.get("arguments") or []
        operation, _, signature = asked.partition("(")
        overloads = [form for form in bean.operations.get(operation, ()) if form.known(self._asked.release)]
        if not overloads:
            raise BeanError(400, ILLEGAL, f"No operation {operation} found on MBean {name}")
        chosen = _choose(overloads, asked, signature, name)
        if len(arguments) != len(chosen.signature):
            raise BeanError(
                400,
                ILLEGAL,
                f"Invalid number of operation arguments. Operation {asked} on {name} requires "
                f"{len(chosen.signature)} parameters, not {len(arguments)} as given",
            )
        return chosen.call(self._asked, *arguments)

    # --- envelopes

    def _limits(self, request: dict[str, Any]) -> dict[str, int]:
        config = request.get("config") or {}
        asked = {name: config.get(name, self._options.get(name)) for name in LIMITS}
        return {name: _limit(self._agent.limits.get(name, 0), asked[name]) for name in LIMITS}

    def _success(self, echo: bytes, value: bytes) -> list[bytes]:
        stamp = int(self._asked.now)
        if self._agent.line == "1":
            tail = f',"timestamp":{stamp},"status":200}}'
        else:
            tail = f',"status":200,"timestamp":{stamp}}}'
        return [b'{"request":' + echo + b',"value":', value, tail.encode()]

    def _failure(self, echo: bytes | None, error: BeanError) -> bytes:
        parts = [b'"request":' + echo] if echo and not error.fatal else []
        message = "" if error.message is None else error.message
        if self._agent.line == "1":
            trace = f"{error.kind}: {message}" if message else error.kind
            parts.append(b'"stacktrace":' + encode(trace))
        text = f"{error.kind} : {message}" if message else error.kind
        parts += [
            b'"error_type":' + encode(error.kind),
            b'"error":' + encode(text),
            b'"status":' + str(error.status).encode(),
        ]
        return b"{" + b",".join(parts) + b"}"


FORBIDDEN = {
    "read": "Reading attribute {} is forbidden for MBean {}",
    "write": "Writing attribute {} forbidden for MBean {}",
    "exec": "Operation {} forbidden for MBean {}",
}


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A value without its wrappers."""
    value = value.value if isinstance(value, SlowValue) else value
    return value.value if isinstance(value, EncodedValue) else value


def _choose(overloads: list[MBeanOperation], asked: str, signature: str, name: str) -> MBeanOperation:
    """The operation that a request means; an overloaded one must be named with its signature."""
    if "(" in asked:
        wanted = tuple(part.strip() for part in signature.rstrip(")").split(",") if part.strip())
        for form in overloads:
            if form.signature == wanted:
                return form
        raise BeanError(
            400, ILLEGAL, f"No operation {asked} on MBean {name} exists. Known signatures: {_signatures(overloads)}"
        )
    if len(overloads) > 1:
        raise BeanError(
            400,
            ILLEGAL,
            f"Operation {asked} on MBean {name} is overloaded. Signatures found: {_signatures(overloads)}. "
            "Use a signature when specifying the operation.",
        )
    return overloads[0]


def _signatures(overloads: list[MBeanOperation]) -> str:
    """Signatures as Jolokia lists them; it omits the opening parenthesis of an empty one."""
    return ",".join(f"({','.join(form.signature)})" if form.signature else ")" for form in overloads)


def _limit(agent: int, asked: Any) -> int:  # noqa: ANN401 - number or text of a query
    """The limit for a request: 0 lifts the agent's limit, a larger number does not raise it."""
    if asked is None:
        return agent
    wanted = int(asked)
    return wanted if wanted == 0 or agent == 0 else min(wanted, agent)


@dataclass
class Limiter:
    """Truncates a value as Jolokia up to 2.3 does: without showing that it did.

    Attributes:
        limits: maxCollectionSize, maxObjects and maxDepth; 0 means no limit.
    """

    limits: Mapping[str, int]
    _count: int = 0

    def cut(self, value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """The value within the limits."""
        if value is None:
            return None
        deepest, most = self.limits["maxDepth"], self.limits["maxObjects"]
        if deepest and depth >= deepest and isinstance(value, (list, dict)):
            return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else java_map(value)
        if most and self._count > most:
            return EXCEEDED
        self._count += 1
        size = self.limits["maxCollectionSize"]
        if isinstance(value, list):
            return [self.cut(item, depth + 1) for item in (value[:size] if size else value)]
        if isinstance(value, dict):
            pairs = list(value.items())[: size + 1] if size else value.items()  # Jolokia keeps one more than the limit
            return {key: self.cut(item, depth + 1) for key, item in pairs}
        return value


def java_map(value: dict[str, Any]) -> str:
    """`{a=b}`, as Java prints a map."""
    return "{" + ", ".join(f"{key}={item}" for key, item in value.items()) + "}"


def _echo(request: dict[str, Any]) -> bytes:
    """The request as the reply repeats it: without `config`, and without empty fields."""
    if request["type"] == "read" and isinstance(request.get("attribute"), str) and "path" not in request:
        return _read_echo(request["mbean"], request["attribute"])
    kept: dict[str, Any] = {}
    for key in ("path", "mbean", "attribute", "arguments", "type", "operation", "value"):
        if request.get(key) not in (None, []):
            kept[key] = request[key]
    if "mbean" in kept:
        kept["mbean"] = _canonical_or_same(kept["mbean"])
    return encode(kept)


@lru_cache(maxsize=4096)
def _read_echo(mbean: str, attribute: str) -> bytes:
    return encode({"mbean": _canonical_or_same(mbean), "attribute": attribute, "type": "read"})


def _canonical_or_same(mbean: str) -> str:
    try:
        return canonical(mbean)
    except BeanError:
        return mbean


def parse_path(path: str) -> dict[str, Any]:
    """The request of a GET: `read/MBEAN/ATTRIBUTE[,ATTRIBUTE]`, `exec/MBEAN/OPERATION/ARGUMENT...`; `!` escapes."""
    parts = [_unescape(part) for part in re.findall(r"(?:[^/!]|!.)+", unquote(path).strip("/"))]
    if not parts:
        return {"type": "version"}
    request: dict[str, Any] = {"type": parts[0]}
    if parts[0] == "list":
        return request | ({"path": "/".join(parts[1:])} if parts[1:] else {})
    if len(parts) > 1:
        request["mbean"] = parts[1]
    if parts[0] == "read" and len(parts) > 2:  # noqa: PLR2004 - type, bean, attribute
        names = parts[2].split(",")
        request["attribute"] = names if len(names) > 1 else names[0]
    if parts[0] == "exec" and len(parts) > 2:  # noqa: PLR2004 - type, bean, operation
        request |= {"operation": parts[2], "arguments": [_argument(part) for part in parts[3:]]}
    return request


def _unescape(part: str) -> str:
    return re.sub(r"!(.)", r"\1", part)


def _argument(part: str) -> str | None:
    return {"[null]": None, '""': ""}.get(part, part)


def version(node: SimNode) -> dict[str, Any]:
    """The value of a `version` request: the agent and its configuration."""
    agent, identity = node.agent, f"{node.host_id[:8]}-jvm"
    limits = {name: str(agent.limits.get(name, 15 if name == "maxDepth" else 0)) for name in LIMITS}
    common = {"agentContext": "/jolokia", "agentId": identity, "debug": "false", "debugMaxEntries": "100",
              "discoveryEnabled": "false", "historyMaxEntries": "10"}  # fmt: skip
    if agent.line == "2":
        details = {"agent_version": "2.2.9", "agent_id": identity, "secured": False,
                   "url": f"http://{node.address}:8778/jolokia/"}  # fmt: skip
        policy = {} if agent.allowed is None else {"policyLocation": "file:/etc/jolokia/policy.xml"}
        return {"agent": "2.2.9", "protocol": "8.0", "details": details, "id": identity,
                "config": common | limits | policy, "info": {"proxy": {}, "jmx": {}}}  # fmt: skip
    old = {"listenForHttpService": "true", "authIgnoreCerts": "false", "agentType": "jvm",
           "policyLocation": "classpath:/jolokia-access.xml" if agent.allowed is None
           else "file:/etc/jolokia/policy.xml",
           "mimeType": "text/plain", "streaming": "true", "allowDnsReverseLookup": "true",
           "serializeException": "false", "multicastGroup": "239.192.48.84", "authMode": "basic", "authMatch": "any",
           "canonicalNaming": "true", "allowErrorDetails": "true", "realm": "jolokia", "includeStackTrace": "true",
           "multicastPort": "24884", "useRestrictorService": "false"}  # fmt: skip
    return {"agent": "1.7.1", "protocol": "7.2", "config": common | limits | old, "info": {}}
