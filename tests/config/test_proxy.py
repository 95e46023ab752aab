"""How agents are reached: the keys of a proxy and of single nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from ringcheck.config import load, schema
from ringcheck.jolokia.settings import DEFAULT_JMX, JolokiaSettings

if TYPE_CHECKING:
    from pathlib import Path

HOST_ID = "6D194555-F6EB-41D0-C000-000000000001"


def jolokia(folder: Path, text: str) -> JolokiaSettings:
    """The settings from a file with these keys of `jolokia`, which is also valid by the schema for editors."""
    file = folder / "ringcheck.yaml"
    file.write_text(f"clusters:\n  a:\n    jolokia:\n      contact_points: h\n{text}")
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())
    source = load(str(file)).clusters["a"].source
    assert isinstance(source, JolokiaSettings)
    return source


def test_a_proxy_needs_its_url_only(tmp_path: Path) -> None:
    """The JMX ports of the nodes have Cassandra's default."""
    settings = jolokia(tmp_path, "      proxy: http://127.0.0.1:8779/jolokia\n")
    assert (settings.proxy, settings.jmx) == ("http://127.0.0.1:8779/jolokia", DEFAULT_JMX)
    assert settings.url_of("2001:db8::1") == "service:jmx:rmi:///jndi/rmi://[2001:db8::1]:7199/jmxrmi"


@pytest.mark.slow
def test_a_login_for_jmx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from a file or from the environment."""
    (tmp_path / "jmx-password").write_text("s3cret\n")
    (tmp_path / "jmx-password").chmod(0o600)
    keys = "      proxy: http://127.0.0.1:8779/jolokia\n      jmx_username: monitor\n"
    assert jolokia(tmp_path, f"{keys}      jmx_password_file: jmx-password\n").jmx_login() == ("monitor", "s3cret")
    monkeypatch.setenv("RINGCHECK_JMX_PASSWORD", "other")
    settings = jolokia(tmp_path, keys)
    assert settings.jmx_login() == ("monitor", "other")
    assert "monitor" not in repr(settings)


def test_names_of_nodes_are_canonical(tmp_path: Path) -> None:
    """Host ids and names are in lower case; addresses have the form in which Cassandra's lists are read."""
    lines = {
        HOST_ID: "http://nat:1/jolokia",
        "10.0.0.7": "http://nat:2/jolokia",
        '"10.0.0.8:7001"': "http://nat:3/jolokia",
        '"2001:DB8:0:0::9"': "http://nat:4/jolokia",
        '"[2001:db8::a]:7001"': "http://nat:5/jolokia",
        "DB1.example.com": "http://nat:6/jolokia",
    }
    settings = jolokia(tmp_path, "      nodes:\n" + "".join(f"        {name}: {url}\n" for name, url in lines.items()))
    assert settings.listed("10.9.9.9", HOST_ID.lower()) == "http://nat:1/jolokia"
    assert settings.listed("10.0.0.7:7000", None) == "http://nat:2/jolokia"
    assert settings.listed("10.0.0.8:7001", None) == "http://nat:3/jolokia"
    assert settings.listed("10.0.0.8:7000", None) is None
    assert settings.listed("2001:db8::9", None) == "http://nat:4/jolokia"
    assert settings.listed("[2001:db8::a]:7001", None) == "http://nat:5/jolokia"
    assert settings.host_names() == {"db1.example.com": "http://nat:6/jolokia"}


def test_a_contact_point_is_asked_where_nodes_has_it(tmp_path: Path) -> None:
    """Its URL is the one in `nodes`; a contact point with a port is asked at that port."""
    settings = jolokia(tmp_path, "      nodes: {h: 'http://nat:1/jolokia'}\n")
    assert settings.url_of_contact("h") == "http://nat:1/jolokia"
    assert settings.url_of_contact("h:9999") == "http://h:9999/jolokia"


@pytest.mark.parametrize(
    "keys",
    ["proxy: http://h:1/\n      url: http://{address}:2/", "jmx_username: x", "jmx: x", "nodes: {a: b}", "nodes: {}"],
)
def test_the_schema_refuses_what_the_program_refuses(keys: str) -> None:
    """The schema refuses as much as JSON Schema can express."""
    text = f"clusters:\n  a:\n    jolokia:\n      contact_points: h\n      {keys}\n"
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(yaml.safe_load(text)))
