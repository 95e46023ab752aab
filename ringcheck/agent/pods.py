"""The Cassandra node of a Kubernetes pod: by the pod's IP address, its host name, or the Kubernetes node it runs on."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ringcheck.errors import RingcheckError
from ringcheck.http.exchange import exchange
from ringcheck.http.tls import Tls

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster, Kubernetes

ENDED = frozenset({"Succeeded", "Failed"})  # phases in which no container runs
MAX_BYTES = 4 * 2**20
_OK = 200


class PodError(RingcheckError):
    """The Cassandra node of a pod can't be determined."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod.

    Attributes:
        node: address or host id of its Cassandra node; empty if `ended`.
        ended: whether none of its containers runs.
    """

    node: str
    ended: bool = False


def pod_of(cluster: Cluster, namespace: str, name: str, seconds: float) -> Pod:
    """The node of a pod.

    Raises:
        PodError: it is not known.
        SourceError: Kubernetes' API does not answer.
    """
    settings = cluster.kubernetes
    if settings is None:
        raise PodError(f"{cluster.name} has no pods")
    if settings.node_by == "host_name":
        return Pod(_resolved(settings.host_name.format(pod=name, namespace=namespace)))
    document = _pod_description(settings, namespace, name, seconds)
    status, spec = document.get("status") or {}, document.get("spec") or {}
    if status.get("phase") in ENDED:
        return Pod("", ended=True)
    if settings.node_by == "pod_ip":
        address = status.get("podIP")
        if not isinstance(address, str) or not address:
            raise PodError(f"pod {namespace}/{name} has no IP address yet")
        return Pod(address)
    host = spec.get("nodeName")
    if not isinstance(host, str) or host not in settings.nodes:
        raise PodError(f"pod {namespace}/{name} runs on {host}, which is not in kubernetes.nodes of {cluster.name}")
    return Pod(settings.nodes[host])


def _resolved(host: str) -> str:
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        raise PodError(f"the name {host} has no address") from None
    if len(found) != 1:
        raise PodError(f"the name {host} has several addresses: {', '.join(found)}")
    return found[0]


def _token(path: str) -> str:
    """The token of the service account, which Kubernetes renews in its file."""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PodError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None


def _pod_description(settings: Kubernetes, namespace: str, name: str, seconds: float) -> dict[str, Any]:
    """The description of a pod from Kubernetes' API."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
    url = settings.api.rstrip("/") + path
    headers = {"Accept": "application/json"}
    if settings.token_file:
        headers["Authorization"] = f"Bearer {_token(settings.token_file)}"
    tls = Tls(ca_file=settings.ca_file) if url.lower().startswith("https:") else None
    status, body = exchange(url, seconds, headers=headers, tls=tls, max_bytes=MAX_BYTES)
    if status != _OK:
        raise PodError(f"HTTP {status} from Kubernetes' API for pod {namespace}/{name}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PodError(f"Kubernetes' API does not describe pod {namespace}/{name}")
    return document
