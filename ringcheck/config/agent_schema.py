"""The section `agent` of the configuration, with its webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ringcheck.config.files import File, StateFile
from ringcheck.config.formats import LISTEN, OF_CLUSTER, OF_CODE, URL
from ringcheck.config.reader import Wrong
from ringcheck.config.sections import ConfigKey, Many, Section
from ringcheck.config.source_schema import TLS, refuse_plain
from ringcheck.config.types import Choice, Duration, Number, Text
from ringcheck.config.values import AgentSettings, Webhook
from ringcheck.core.events import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from ringcheck.config.reader import ConfigReader


def _webhook(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Webhook:
    webhook = Webhook(**{"name": urlsplit(values["url"]).netloc, **values})
    refuse_plain(node, webhook.tls, (webhook.url,))
    return webhook


WEBHOOK = Section(
    what="a webhook",
    keys={
        "name": ConfigKey(Text(), "Name of the webhook in logs and metrics; by default the host of the URL."),
        "url": ConfigKey(URL, "Where events are posted.", required=True),
        "secret_file": ConfigKey(
            File(secret=True),
            "File with the key of the signature: `whsec_` and base64. A bare name is looked up among systemd's "
            "credentials.",
            required=True,
        ),
        "events": ConfigKey(Many(Choice(tuple(EVENTS))), "Kinds of events that are sent; by default all."),
        "node_lost_after": ConfigKey(
            Duration(0), "How long a node must be down before it counts as lost.", default="30m"
        ),
        "timeout": ConfigKey(Duration(), "Timeout of an attempt.", default="10s"),
        "queue": ConfigKey(
            Number(1, 1_000_000),
            "Number of events that may wait for the receiver; if there are more, the oldest are dropped.",
            default="10000",
        ),
        "tls": ConfigKey(TLS, "Certificates for https."),
    },
    build=_webhook,
)


def _conflicts(present: frozenset[str]) -> Iterator[str]:
    useless = next((name for name in ("state_keep", "state_size") if name in present), None)
    if useless and "state" not in present:
        yield f"{useless} needs state: without a state file nothing is kept"
    if "webhooks" in present and "state" not in present:
        yield "webhooks need state: events wait in the state file"


def _agent(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> AgentSettings:
    names = [webhook.name for webhook in values.get("webhooks") or ()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Wrong(node, f"two webhooks are called {twice[0]!r}: give them names")
    return AgentSettings(**values)


AGENT = Section(
    what="agent",
    keys={
        "listen": ConfigKey(LISTEN, "Where the web server listens.", default="127.0.0.1:9742"),
        "interval": ConfigKey(Duration(1), "Time from one poll of a cluster to the next.", default="15s"),
        "web_config": ConfigKey(
            File(), "File with TLS settings and users of the web server, with the keys of exporter-toolkit."
        ),
        "log": ConfigKey(Choice(("logfmt", "json")), "Format of the log.", default="logfmt"),
        "state": ConfigKey(
            StateFile(),
            "The state file, an SQLite database with the history; without it, the history is lost at a restart.",
        ),
        "state_keep": ConfigKey(
            Duration(3600, 3650 * 86400), "How long the state file keeps an entry of the history.", default="90d"
        ),
        "state_size": ConfigKey(Number(64, 65536), "Greatest size of the state file in MiB.", default="256"),
        "grafana_url": ConfigKey(OF_CLUSTER, "URL of a cluster's dashboard, to which the cluster's page links."),
        "runbook_url": ConfigKey(
            OF_CODE,
            "URL of your own explanations of findings; by default pages link to the agent's `/reference`.",
        ),
        "admission_secret_file": ConfigKey(
            File(secret=True),
            "File with a secret, the last part of the path at which Kubernetes' API server asks before an eviction; "
            "with it, that path needs no user.",
        ),
        "webhooks": ConfigKey(Many(WEBHOOK), "Receivers of events: a node is lost, ranges are unavailable, and so on."),
    },
    build=_agent,
    conflicts=_conflicts,
    also={"dependentRequired": {"state_keep": ["state"], "state_size": ["state"], "webhooks": ["state"]}},
)
