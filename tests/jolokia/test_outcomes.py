"""Forms of replies: a right one becomes a value, and a wrong one an error of one line."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.endpoint import ip_of
from ringcheck.core.ring import Pending
from ringcheck.errors import DataError, DeniedError, SourceError
from ringcheck.http.replies import SMALL, Reply
from ringcheck.jolokia import endpoints, gossip, node_report, outcomes, rangemaps, stream
from ringcheck.jolokia.outcomes import Outcome
from ringcheck.jolokia.rangemaps import NodeIndexes

if TYPE_CHECKING:
    from collections.abc import Callable


URL = "http://10.0.0.1:8778/jolokia"


class Body(io.BytesIO):
    """The part of an answer that `Reply` reads."""


def reply(body: bytes, padding: int = 0) -> Reply:
    """A reply; padding makes it large if it must be streamed."""
    raw: Any = Body(body[:1] + b" " * padding + body[1:])
    return Reply(raw, URL, 64 * 2**20)


def indexes_of(*addresses: str) -> NodeIndexes:
    index = {address: place for place, address in enumerate(addresses)}

    def found(endpoint: str) -> int:
        if ip_of(endpoint) not in index:
            raise DataError(f"{endpoint} is no member")
        return index[ip_of(endpoint)]

    return NodeIndexes(found)


# Endpoints.


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("/10.0.0.1", "10.0.0.1"),
        ("cas1.example.org/10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:7000", "10.0.0.1:7000"),
        ("/10.0.0.1:7000", "10.0.0.1:7000"),
        ("cas1/10.0.0.1:7000", "10.0.0.1:7000"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("/2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8:0:0:0:0:0:1]:7000", "[2001:db8::1]:7000"),
        ("cas1/[2001:db8:0:0:0:0:0:1]:7000", "[2001:db8::1]:7000"),
        ("fe80:0:0:0:0:0:0:1%eth0", "fe80::1"),
        ("[fe80:0:0:0:0:0:0:1%2]:7000", "[fe80::1]:7000"),
        ({"address": "10.0.0.1"}, "10.0.0.1"),
        ({"hostAddress": "10.0.0.1", "address": [10, 0, 0, 1], "hostName": "cas1"}, "10.0.0.1"),
    ],
)
def test_an_endpoint_has_one_canonical_form(written: object, endpoint: str) -> None:
    """All spellings of both lines of Jolokia and of all releases become `ip` or `ip:port`."""
    assert endpoints.endpoint(written) == endpoint
    assert ip_of(endpoint) == ip_of(endpoint.replace(":7000", ""))


@pytest.mark.parametrize(
    "written",
    ["", "cas1", "cas1/<unresolved>:7000", "10.0.0.1:", "10.0.0.256", "10.0.0.1:x", None, 7, {}, ["10.0.0.1"]],
)
def test_a_text_that_is_not_an_endpoint_is_refused(written: object) -> None:
    """The error quotes the text, for example a name that Java could not resolve."""
    with pytest.raises(DataError, match="is not an address"):
        endpoints.endpoint(written)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_endpoints_are_canonical(ip: Any, port: int) -> None:
    """Long and short forms of an address are equal, with and without a port."""
    written = f"[{ip.exploded}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    endpoint = endpoints.endpoint(f"host/{written}")
    assert endpoints.endpoint(endpoint) == endpoint
    assert ip_of(endpoint) == endpoints.endpoint(ip.exploded) == str(ip)


# Outcomes.

OK = {"request": {}, "value": [], "status": 200}
FAILED = {"request": {}, "error_type": "a.B", "error": "a.B : not\nthere", "status": 404}
ERROR = {"error_type": "a.B", "error": "a.B : java.lang.AssertionError", "status": 500}


def test_each_item_of_a_bulk_has_its_own_outcome() -> None:
    """A failed item does not affect the others, and its error is one line."""
    answers = outcomes.outcomes([OK, FAILED], 2)
    assert answers == [Outcome(status=200, value=[]), Outcome(status=404, error="a.B : not there", error_type="a.B")]
    assert answers[0].get("x") == []
    with pytest.raises(DataError, match=r"^x: a\.B : not there$"):
        answers[1].get("x")


def test_one_object_for_a_bulk_is_recognised() -> None:
    """An Error in a bulk turns the reply into one object; then the requests must be sent one by one."""
    assert outcomes.outcomes(ERROR, 3) is None


def test_a_bulk_that_is_refused_as_a_whole_is_denied() -> None:
    """One object with status 403 denies the whole bulk; the error has the agent's text."""
    with pytest.raises(DeniedError, match=r"^the agent refuses: no POST here$") as caught:
        outcomes.outcomes({"status": 403, "error_type": "a.B", "error": "a.B : no POST here"}, 3)
    assert caught.value.kind == "denied"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([OK], "1 answers to 2 requests"),
        ("x", "not a reply of Jolokia: x"),
        ([OK, 7], "not a reply of Jolokia: 7"),
        ([OK, {"value": 1}], "not a reply of Jolokia: {'value': 1}"),
        ({"hello": "world"}, "not a reply of Jolokia: {'hello': 'world'}"),
        (OK, "one answer to 2 requests: status 200"),
        (FAILED, "one answer to 2 requests: a.B : not there"),
        ([OK, {"status": 200}], "the answer has no value"),
        ([OK, {"status": "200", "value": 1}], "not a reply of Jolokia: {'status': '200', 'value': 1}"),
    ],
)
def test_a_bulk_with_another_number_of_answers_is_refused(answer: object, message: str) -> None:
    """If there are fewer answers than requests, or values that are no answers, it is an error."""
    with pytest.raises(DataError) as caught:
        outcomes.outcomes(answer, 2)
    assert str(caught.value) == message


def test_a_denied_item_has_kind_denied() -> None:
    """The error of a status 403 has the agent's text, or names its policy."""
    for error, message in (
        ("No access\x1b[1m\n for \u202eyou\ud800", r"the agent refuses: No access\?\[1m for \?you\?"),
        ("a.B : no", "the agent refuses: no"),
        ("", "the agent's access policy forbids it"),
        (None, "the agent's access policy forbids it"),
    ):
        with pytest.raises(SourceError, match=f"^x: {message}$") as caught:
            outcomes.outcome({"status": 403, "error": error, "error_type": "a.B"}).get("x")
        assert caught.value.kind == "denied"


def test_long_texts_of_a_node_are_cut() -> None:
    """A stack trace in place of a message does not fill a pager."""
    assert len(outcomes.outcome({"status": 500, "error": "x" * 5000}).error) == 203


# Values.


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[Object limit exceeded]", "x is not a list: [Object limit exceeded] (the agent's maxObjects cut it off)"),
        ("[a, b]", "x is not a list: [a, b] (the agent's maxDepth made it text)"),
        (["10.0.0.1", None], "x has None in place of text"),
        ({}, "x is not a list: {}"),
        (None, "x is not a list: None"),
    ],
)
def test_a_list_that_a_limit_has_replaced_is_refused(value: object, message: str) -> None:
    """The error names the limit of the agent."""
    with pytest.raises(DataError) as caught:
        outcomes.strings(value, "x")
    assert str(caught.value) == message


def test_members_cut_by_a_limit_are_refused() -> None:
    """A list whose last members were replaced by a text is not a list of endpoints."""
    with pytest.raises(DataError, match=r"LiveNodes: \[Object limit exceeded\] is not an address"):
        endpoints.endpoints(["10.0.0.1", "[Object limit exceeded]"], "LiveNodes")


@pytest.mark.parametrize(("value", "number"), [(7, 7), ("7", 7), ("-7", -7)])
def test_numbers_may_be_text(value: object, number: int) -> None:
    """Agents 2.x may write long numbers as text."""
    assert outcomes.number(value, "x") == number


@pytest.mark.parametrize("judge", [outcomes.number, outcomes.flag, outcomes.text, outcomes.mapping])
@pytest.mark.parametrize("value", [None, 1.5, ["x"]])
def test_a_value_of_another_type_is_refused(judge: Callable[[object, str], object], value: object) -> None:
    """No number, boolean, text or map is taken for another type."""
    with pytest.raises(DataError, match=r"^x is n"):
        judge(value, "x")


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 19, 2**63, -(2**63) - 1, "\u0663", "1_0", " 1"])
def test_a_number_that_is_no_long_is_refused(value: object) -> None:
    """Java has no larger number, and for the text of one Python raises an error or takes seconds."""
    with pytest.raises(DataError, match=r"^x is not a number: .{1,203}$"):
        outcomes.number(value, "x")


def test_a_text_longer_than_any_name_is_refused() -> None:
    """The error is one short line, whatever the text contains."""
    long = "a\u001b\n" * 4000
    for judge in (outcomes.text, lambda value, what: outcomes.strings([value], what), endpoints.endpoints):
        with pytest.raises(DataError, match=r"^x:? .{1,310}$"):
            judge(long if judge is outcomes.text else [long], "x")


def test_a_status_that_is_not_a_number_is_no_reply() -> None:
    """JSON's true is a number in Python."""
    with pytest.raises(DataError, match="not a reply of Jolokia"):
        outcomes.outcome({"status": True, "value": 1})


def test_the_class_of_an_error_is_shown_in_one_short_line() -> None:
    """An error without a text is shown by its Java class, which the node can choose."""
    reply = {"status": 500, "error_type": "\u001b[2Jx\n" * 100}
    with pytest.raises(DataError, match=r"^x: \?\[2Jx .{1,200}$"):
        outcomes.outcome(reply).get("x")


def test_host_ids_and_owners_are_maps_by_endpoint() -> None:
    """The endpoint may have any form; an endpoint with a share in the ownership map owns tokens."""
    reported = {"/10.0.0.1:7000": "id", "10.0.0.2": "id", "cas3/10.0.0.3": "other"}
    ids = endpoints.host_ids(reported, "EndpointToHostId")
    assert ids == {"10.0.0.1:7000": "id", "10.0.0.2": "id", "10.0.0.3": "other"}
    assert endpoints.owners({"/10.0.0.1:7000": 0.5, "10.0.0.2": 0.0}, "Ownership") == {"10.0.0.1:7000", "10.0.0.2"}
    with pytest.raises(DataError, match="is not a map"):
        endpoints.owners(["10.0.0.1"], "Ownership")


def test_pending_ranges_may_wrap_and_have_many_endpoints() -> None:
    """Pending maps have the shape of range maps; their ranges are returned sorted."""
    ranges = {"[5, -3]": ["10.0.0.2:7000"], "[-9, -8]": ["10.0.0.1", "/10.0.0.2"]}
    pending = rangemaps.pending(ranges, indexes_of("10.0.0.1", "10.0.0.2"), "pending ranges")
    assert pending == (Pending(-9, -8, (0, 1)), Pending(5, -3, (1,)))


@pytest.mark.parametrize("key", ["[a, b]", "[1,2]", "(1, 2)", "1, 2", "[1, 2, 3]", "[1.5, 2]", "[, ]"])
def test_a_key_that_is_not_a_range_is_refused(key: str) -> None:
    """Tokens of order-preserving partitioners are keys with any text, so that a range can't be split."""
    with pytest.raises(DataError, match=r"is not a token range$"):
        rangemaps.tokens_of_key(key)


def test_releases_are_read_from_gossip() -> None:
    """AllEndpointStates has a block for each endpoint, in several spellings."""
    states = "/10.0.0.1\n  generation:1\n  RELEASE_VERSION:5:4.1.9\n"
    states += "cas2/10.0.0.2:7000\n  RELEASE_VERSION:4:3.11.19\n  DC:1:x"
    assert gossip.gossiped_releases(states) == {"10.0.0.1": "4.1.9", "10.0.0.2:7000": "3.11.19"}


PLAIN = "/10.0.0.1\n  generation:1\n  STATUS:NORMAL,1\n  SCHEMA:0d918984-7629-353c-90f8-31a47a6ff839\n"
VERSIONED = "/10.0.0.1\n  generation:1\n  STATUS:28:NORMAL,1\n  SCHEMA:83:0d918984-7629-353c-90f8-31a47a6ff839\n"


@pytest.mark.parametrize(
    ("block", "line", "value"),
    [
        (PLAIN, "RELEASE_VERSION:2.1.22", "2.1.22"),
        (PLAIN, "RELEASE_VERSION:3.0.8-scylla", "3.0.8-scylla"),
        (PLAIN, "DC:7:8", "7:8"),
        (PLAIN, "RPC_ADDRESS:10.0.0.1", "10.0.0.1"),
        (PLAIN, "RPC_ADDRESS:2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1"),
        (VERSIONED, "RELEASE_VERSION:5:5.0.8", "5.0.8"),
        (VERSIONED, "RELEASE_VERSION:5.0.8", "5.0.8"),
        (VERSIONED, "DC:7:8", "8"),
        (VERSIONED, "DC:7:rack:9", "rack:9"),
        (VERSIONED, "RPC_ADDRESS:3:2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1"),
        (VERSIONED, "NATIVE_ADDRESS_AND_PORT:3:[2001:db8:0:0:0:0:0:1]:9042", "[2001:db8:0:0:0:0:0:1]:9042"),
        (VERSIONED, "TOKENS: not present", "not present"),
        (VERSIONED, "X_11_PADDING:3:", ""),
        ("/10.0.0.1\n", "RPC_ADDRESS:3:10.0.0.1", "10.0.0.1"),
        ("/10.0.0.1\n", "RPC_ADDRESS:2001:db8::1", None),
        (PLAIN + "  LOAD:5:1.0\n", "RPC_ADDRESS:3:10.0.0.1", None),
    ],
)
def test_states_are_read_with_and_without_versions(block: str, line: str, value: str | None) -> None:
    """The surrounding lines show whether a number is a version; a value that could be either is left out."""
    name = line.partition(":")[0]
    assert gossip.gossiped(f"{block}  {line}\n", name).get("10.0.0.1") == value


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "no address\n  RELEASE_VERSION:5:5.0.8\n",
        "/10.0.0.1\n  RELEASE_VERSION:\n",
        "/10.0.0.1\n  RELEASE_VERSION:5:\n",
        "/10.0.0.1\n  RELEASE_VERSION\n",
        "/10.0.0.1\n  RELEASE_VERSION:5:unknown\n",
        "/10.0.0.1\n  RELEASE_VERSION:5:5.0.8\n10.0.0.1/10.0.0.1\n  RELEASE_VERSION:5:4.1.9\n",
        "  RELEASE_VERSION:5:5.0.8\n",
        "/10.0.0.1\nno address\n  RELEASE_VERSION:5:5.0.8\n",
    ],
)
def test_a_release_that_can_not_be_read_is_unknown(lines: str) -> None:
    """It is no error, does not become another node's release, and does not affect other blocks."""
    other = "/10.0.0.2\n  generation:1\n  a line of another kind\n  RELEASE_VERSION:5:5.0.8\n"
    assert gossip.gossiped_releases(lines) == {}
    for whole in (lines + other, other + lines) if not lines.startswith(" ") else (lines + other,):
        assert gossip.gossiped_releases(whole) == {"10.0.0.2": "5.0.8"}


@given(st.text(alphabet=st.sampled_from("/10.:[]aRELEASE_VERSION \n\r\t\u2028"), max_size=200))
def test_no_text_of_gossip_is_an_error(states: str) -> None:
    """Reading any text returns the values that are certain."""
    assert all(release[0].isdecimal() for release in gossip.gossiped_releases(states).values())


def test_text_of_gossip_with_too_many_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line can be a block, which takes a hundred times its bytes."""
    monkeypatch.setattr(gossip, "LINES", 1000)
    with pytest.raises(DataError, match="AllEndpointStates has more than 1000 lines"):
        gossip.gossiped_releases("x\n" * 1001)


# Range maps, small and streamed.

BOTH = pytest.mark.parametrize("padding", [0, 2 * SMALL], ids=["small", "streamed"])
NODES = ("10.0.0.1", "10.0.0.2")


def rows(body: object, padding: int) -> list[tuple[int, int, tuple[int, ...]]]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    spans = rangemaps.range_rows(reply(text, padding), indexes_of(*NODES), len(NODES))
    table = [spans.table[at : at + spans.width] for at in range(0, len(spans.table), spans.width or 1)]
    replicas = [tuple(node for node in row if node < len(NODES)) for row in table] or [()] * len(spans.ends)
    return list(zip(spans.starts, spans.ends, replicas, strict=True))


@BOTH
def test_a_range_map_becomes_rows_of_node_indexes(padding: int) -> None:
    """It has start, end and replicas in Cassandra's order; the map may be surrounded by other keys in any order."""
    value = {"[1, 5]": ["/10.0.0.2", "10.0.0.1:7000"], "[5, 1]": ["cas2/10.0.0.2"], "[0, 0]": []}
    expected = [(1, 5, (1, 0)), (5, 1, (1,)), (0, 0, ())]
    assert rows({"value": value, "status": 200, "timestamp": 1}, padding) == expected
    request = {"arguments": ["value", {"status": 500}], "a": [[[]], {}, None, True, 1.5]}
    assert rows({"status": 200, "request": request, "value": value}, padding) == expected


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"value": {"[1, 1]": ["10.0.0.1"]}, "status": 500, "error": "broken"}, "the range map: broken"),
        ({"value": {"[1, 1]": ["10.0.0.1"]}}, "not a reply of Jolokia"),
        ({"status": 200}, "the answer has no value"),
        ({"status": 500, "error": "java.lang.AssertionError: Unknown keyspace x"}, "Unknown keyspace x"),
        ({"status": 403, "error": "forbidden"}, "the range map: the agent refuses: forbidden"),
        ({"status": 200, "value": []}, "the range map is not a map: []"),
        ({"status": 200, "value": "[Object limit exceeded]"}, "the agent's maxObjects cut it off"),
        ({"status": 200, "value": {"[1, 1]": "[10.0.0.1, 10.0.0.2]"}}, "the agent's maxDepth made it text"),
        ({"status": 200, "value": {"[1, 1]": "[Object limit exceeded]"}}, "the agent's maxObjects cut it off"),
        ({"status": 200, "value": {"[1, 1]": ["[Object limit exceeded]"]}}, "the agent's maxObjects cut it off"),
        ({"status": 200, "value": {"[1, 1]": ["10.0.0.9"]}}, "10.0.0.9 is no member"),
        ({"status": 200, "value": {"[1, 1]": [["10.0.0.1"]]}}, ""),
        ({"status": 200, "value": {"[1, 1]": [7]}}, ""),
        ({"status": 200, "value": {"[1, 1]": 7}}, ""),
        ({"status": 200, "value": {"[1, 1]": {"a": "b"}}}, ""),
        ({"status": 200, "value": {"k": ["10.0.0.1"]}}, "k is not a token range"),
        ([1], ""),
    ],
)
def test_a_value_that_is_not_a_range_map_is_refused(padding: int, body: object, message: str) -> None:
    """The small and the streamed way refuse the same replies, even if the status comes after the value."""
    with pytest.raises((DataError, SourceError)) as caught:
        rows(body, padding)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("cut", [1, 20, 40])
def test_a_range_map_that_is_cut_off_is_refused(padding: int, cut: int) -> None:
    """This includes a cut between two entries."""
    body = json.dumps({"status": 200, "value": {"[1, 5]": ["10.0.0.2"], "[5, 1]": ["10.0.0.2"]}}).encode()
    with pytest.raises(
        SourceError, match=r"^http://10.0.0.1:8778/jolokia: the JSON of the answer is broken or cut off"
    ):
        rows(body[:-cut], padding)


HALF_A_PAIR = rb'{"status":200,"value":{"[1, 5]":["\udc00"],"[5, 1]":["10.0.0.2"]}}'


def test_half_a_surrogate_pair_in_a_streamed_answer_is_refused() -> None:
    """The library that decodes large answers can't decode it; the error is about this answer alone."""
    with pytest.raises(SourceError, match="is not JSON"):
        rows(HALF_A_PAIR, 2 * SMALL)


@BOTH
@pytest.mark.parametrize("body", [b'{"status":200,"value":{}} {}', b'{"status":200,"value":{}}x', b"{status}"])
def test_a_reply_that_is_not_json_is_refused(padding: int, body: bytes) -> None:
    """Text after the document, or instead of it, is an error."""
    with pytest.raises(SourceError, match="JSON"):
        rows(body, padding)


def test_a_streamed_answer_may_not_contradict_itself() -> None:
    """Two values in one reply are an error."""
    with pytest.raises(DataError, match="the answer has value twice"):
        rows(b'{"value":{"[1, 1]":["10.0.0.1"]},"value":{},"status":200}', 2 * SMALL)


LIMIT = 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "rest", "message"),
    [
        ("{" + ",".join(f'"[{i}, {i}]":[]' for i in range(LIMIT + 1)) + "}", "", "the range map has more than 1000 en"),
        ('{"[1, 1]":[' + ",".join(['"10.0.0.1"'] * (LIMIT + 1)) + "]}", "", "an entry has more than 1000 items"),
        ('{"[1, 1]":["10.0.0.1","10.0.0.2","10.0.0.1"]}', "", "has 3 replicas, but there are 2 nodes"),
        ('{"[1, 1]":["' + "x" * (LIMIT + 1) + '"]}', "", "an entry has 1001 characters"),
        ('{"' + "x" * (LIMIT + 1) + '":[]}', "", "the range map has a key of 1001 characters"),
        ('{"[1, ' + "9" * 900 + ']":[]}', "", "is not a token range"),
        ("{}", ',"x":[' + "[]," * LIMIT + "1]", "too much text outside the value"),
        ("{}", ',"x":"' + "x" * (LIMIT + 1) + '"', "too much text outside the value"),
        ("[" + "[]," * LIMIT + "1]", "", "too much text outside the value"),
        ("{}", ',"x":' + "9" * 5000, "the JSON of the answer is broken"),
        ("{}", ',"x":1e9999999999999999999', "the JSON of the answer is broken"),
        ("[" * 100_000, "", "too much text outside the value"),
    ],
)
def test_a_streamed_answer_that_has_no_end_is_refused(
    value: str, rest: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries, their items, strings, and everything beside the map are bounded while they are read."""
    for name in ("ENTRIES", "ITEMS", "CHARACTERS", "OUTSIDE"):
        monkeypatch.setattr(stream, name, LIMIT)
    text = f'{{"status":200,"value":{value}{rest}}}'.encode()
    with pytest.raises((DataError, SourceError), match=message) as caught:
        rows(text, 2 * SMALL)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.slow
@pytest.mark.parametrize("character", ["x", r"\"", r"\\\"", " ", r"\u0041"])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_streamed_text_without_an_end_is_refused_at_once(character: str, padding: int) -> None:
    """Escaped quotation marks do not end a text, wherever a chunk ends."""
    text = f'{{"status":200,"value":{{{" " * padding}"a":"{character * 4_000_000}"}}}}'.encode()
    started = time.process_time()
    with pytest.raises(DataError, match="the token map: the answer has a text of more than 65536 characters"):
        rangemaps.token_counts(reply(text, 2 * SMALL))
    assert time.process_time() - started < 3


@BOTH
@pytest.mark.parametrize("digits", ["9" * 5000, "\u0663", "9" * 40])
def test_a_token_that_no_partitioner_has_is_no_token(padding: int, digits: str) -> None:
    """Python would take seconds for many digits, and accepts digits of other scripts."""
    with pytest.raises(DataError, match="is not a token range"):
        rows({"status": 200, "value": {f"[1, {digits}]": []}}, padding)


@BOTH
def test_tokens_are_counted_by_owner(padding: int) -> None:
    """TokenToEndpointMap becomes the number of tokens by endpoint."""
    body = json.dumps({"value": {"1": "10.0.0.1:7000", "2": "/10.0.0.1:7000", "3": "10.0.0.2"}, "status": 200}).encode()
    assert rangemaps.token_counts(reply(body, padding)) == Counter({"10.0.0.1:7000": 2, "10.0.0.2": 1})
    with pytest.raises(DataError):
        rangemaps.token_counts(reply(b'{"value":{"1":["10.0.0.1"]},"status":200}', padding))


TOKENS = st.integers(-(10**39) + 1, 10**39 - 1)


@given(st.dictionaries(st.tuples(TOKENS, TOKENS), st.permutations(NODES), max_size=20))
def test_the_streamed_way_equals_the_small_one(value: dict[tuple[int, int], list[str]]) -> None:
    """Both ways of reading a map give the same rows."""
    body = {"value": {f"[{start}, {end}]": replicas for (start, end), replicas in value.items()}, "status": 200}
    assert rows(body, 0) == rows(body, 2 * SMALL)


# Readings.


def outcomes_of(values: dict[str, object]) -> dict[str, Outcome]:
    return {
        name: value if isinstance(value, Outcome) else Outcome(status=200, value=value)
        for name, value in values.items()
    }


HEALTHY: dict[str, object] = {
    "ClusterName": "lab", "ReleaseVersion": "5.0.8", "LocalHostId": "id", "OperationMode": "NORMAL",
    "GossipRunning": True, "NativeTransportRunning": True, "CurrentGenerationNumber": 7, "SchemaVersion": "s",
    "LiveNodes": ["10.0.0.1"], "UnreachableNodes": [], "JoiningNodes": [], "LeavingNodes": [], "MovingNodes": [],
}  # fmt: skip
ABSENT = Outcome(
    status=404,
    error="javax.management.AttributeNotFoundException : x",
    error_type="javax.management.AttributeNotFoundException",
)


def test_a_report_has_ports_only_if_all_lists_have_them() -> None:
    """Endpoints with and without ports are never mixed."""
    ports: dict[str, object] = {f"{name}WithPort": [] for name in ("UnreachableNodes", "JoiningNodes", "LeavingNodes")}
    ports |= {"MovingNodesWithPort": ABSENT, "LiveNodesWithPort": ["10.0.0.1:7000"]}
    plain = node_report.node_report(outcomes_of(HEALTHY | ports), {})
    assert (plain.with_port, plain.live) == (False, frozenset({"10.0.0.1"}))
    whole = node_report.node_report(outcomes_of(HEALTHY | ports | {"MovingNodesWithPort": []}), {})
    assert (whole.with_port, whole.live) == (True, frozenset({"10.0.0.1:7000"}))


def test_the_report_of_a_node_without_mbeans_is_empty() -> None:
    """Jolokia answers before Cassandra has registered its MBeans: the node is starting, which is not an error."""
    absent = Outcome(status=404, error="x", error_type="javax.management.InstanceNotFoundException")
    assert node_report.node_report(dict.fromkeys(HEALTHY, absent), {}) == node_report.NodeReport()


@pytest.mark.parametrize("name", ["CurrentGenerationNumber", "SchemaVersion"])
def test_generation_and_schema_may_be_unknown(name: str) -> None:
    """A view can be used without them: they fail while a node starts, or if a policy forbids them."""
    report = node_report.node_report(
        outcomes_of(HEALTHY | {name: Outcome(status=500, error="java.lang.NullPointerException")}), {}
    )
    assert None in {report.generation, report.schema_version}


@pytest.mark.parametrize("name", [name for name in HEALTHY if name not in {"CurrentGenerationNumber", "SchemaVersion"}])
def test_every_other_attribute_is_required(name: str) -> None:
    """An attribute that is missing, denied or of another type is an error that names it."""
    with pytest.raises(DataError, match=f"^{name}"):
        node_report.node_report(outcomes_of(HEALTHY | {name: 1.5}), {})
    with pytest.raises(DataError, match=f"^{name}: javax"):
        node_report.node_report(outcomes_of(HEALTHY | {name: ABSENT}), {})
    with pytest.raises(SourceError, match=f"^{name}: the agent's access policy forbids it"):
        node_report.node_report(outcomes_of(HEALTHY | {name: Outcome(status=403)}), {})
    with pytest.raises(DataError, match=f"^{name} is missing from the answer"):
        node_report.node_report({key: value for key, value in outcomes_of(HEALTHY).items() if key != name}, {})
