"""The evidence of levels in use: counter resets, gaps, logins; nothing is forgotten before the window is complete."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.consistency import Level
from ringcheck.core.levels import Following
from ringcheck.core.node_requests import NodeRequests
from ringcheck.core.observed import EVERY, PATIENCE
from ringcheck.core.own_requests import IN_FLIGHT
from ringcheck.core.sources import Sources, read_sources
from ringcheck.core.usage import (
    Evidence,
    clock_set,
    failed,
    merged,
    noted,
    reported,
    resumed,
    sampled,
    span,
)
from ringcheck.core.usage_values import plain, read_plain
from ringcheck.core.uses import LOGINS, ROLES, SCANS, Use

DAY = 86400.0
WINDOW = 7 * DAY
START = 1_000_000.0
READ = "Read-LOCAL_QUORUM"


def node(
    name: str = "a", started: float | None = START - 30 * DAY, release: str = "5.0.8", **counts: int
) -> NodeRequests:
    every = {READ: 0, "Read-LOCAL_ONE": 0, "Read-QUORUM": 0, LOGINS: 0, ROLES: 0, SCANS: 0}
    named = {key.replace("__", "-"): value for key, value in counts.items()}
    return NodeRequests(
        node=name, address=f"10.0.0.{name}", datacenter="dc1", release=release, started=started, counts=every | named
    )


def silent(name: str = "a", **fields: Any) -> NodeRequests:
    return replace(node(name), counts=None, **fields)


def after(*readings: tuple[float, list[NodeRequests]], evidence: Evidence | None = None) -> Evidence:
    found = evidence or Evidence()
    for at, nodes in readings:
        found = noted(found, nodes, START + at, WINDOW)
    return found


def used(evidence: Evidence) -> dict[str, int]:
    return {f"{use.operation} {use.level}": seen.total for use, seen in evidence.uses.items()}


def test_only_what_is_counted_between_two_readings_is_a_use() -> None:
    """What a long-running process had counted before it was first seen says nothing about the window."""
    first = after((0, [node(Read__LOCAL_QUORUM=1000)]))
    assert used(first) == {}
    assert used(after((60, [node(Read__LOCAL_QUORUM=1007, Write__ALL=1)]), evidence=first)) == {
        "read LOCAL_QUORUM": 7, "write ALL": 1,
    }  # fmt: skip


def test_a_process_that_is_younger_than_the_window_counts_from_zero() -> None:
    """Everything that it counted happened within the window."""
    assert used(after((0, [node(started=START - DAY, Read__LOCAL_QUORUM=5)]))) == {"read LOCAL_QUORUM": 5}


@pytest.mark.parametrize("started", [START + 50, None])
def test_a_restarted_process_counts_from_zero(started: float | None) -> None:
    """A counter goes down, or the start time differs although the counter is as high as before."""
    before = after((0, [node(Read__LOCAL_QUORUM=100)]))
    again = after((60, [node(started=started, Read__LOCAL_QUORUM=3)]), evidence=before)
    assert used(again) == {"read LOCAL_QUORUM": 3}
    if started:
        assert used(after((60, [node(started=started, Read__LOCAL_QUORUM=100)]), evidence=before)) == {
            "read LOCAL_QUORUM": 100
        }


def test_a_use_is_forgotten_after_a_whole_window() -> None:
    """It is not forgotten earlier."""
    seen = after((0, [node()]), (60, [node(Write__ALL=1)]))
    for minute in range(5, int(WINDOW / 60), 5):
        seen = after((minute * 60, [node(Write__ALL=1)]), evidence=seen)
    assert used(seen) == {"write ALL": 1}
    assert used(after((WINDOW + 61, [node(Write__ALL=1)]), evidence=seen)) == {}


def test_a_use_is_kept_while_a_part_of_the_window_is_not_known() -> None:
    """A node may not be read, or it may have done something before a restart that was not read."""
    two = [node("a"), node("b")]
    seen = after((0, two), (60, [node("a", Write__ALL=1), node("b")]))
    idle, late = node("a", Write__ALL=1), 3 * WINDOW
    dark = after((late, [idle, silent("b")]), evidence=seen)
    assert dark.missing(START + late, WINDOW).startswith("10.0.0.b: ")
    assert used(dark) == {"write ALL": 0}
    back = after((late + 60, [idle, node("b", started=START + late)]), evidence=dark)
    assert used(back) == {"write ALL": 0}
    assert back.missing(START + late + 60, WINDOW) == "60 s of 7 days are known"


def test_a_gap_in_which_no_node_was_restarted_hides_nothing() -> None:
    """The counters went on: an agent that was off for a week still has a complete window."""
    seen = after((0, [node()]), (WINDOW, [node()]))
    assert seen.whole(START + WINDOW, WINDOW)


def test_a_node_that_has_just_been_added_leaves_the_window_whole() -> None:
    """It had no clients before its first process started; a node that is gone does not count as missing."""
    seen = after((0, [node("a")]), (WINDOW, [node("a")]))
    joined = after((WINDOW + 60, [node("a"), node("b", started=START + WINDOW + 30)]), evidence=seen)
    assert joined.whole(START + WINDOW + 60, WINDOW)
    old = after((WINDOW + 60, [node("a"), node("b", started=START + DAY)]), evidence=seen)
    assert not old.whole(START + WINDOW + 60, WINDOW)
    assert after((WINDOW + 90, [node("b", started=START + WINDOW + 30)]), evidence=joined).whole(
        START + WINDOW + 90, WINDOW
    )


@pytest.mark.parametrize("before", [silent("b"), silent("b", release="3.0.29")], ids=["no Jolokia", "no counters"])
def test_a_process_is_not_the_first_one_of_a_member_that_was_never_read(before: NodeRequests) -> None:
    """Jolokia is loaded, or the node upgraded, with a restart: what the process before it did is not known."""
    seen = after((0, [node("a"), before]), (WINDOW, [node("a"), before]))
    read = after((WINDOW + 60, [node("a"), node("b", started=START + WINDOW + 50)]), evidence=seen)
    assert read.missing(START + WINDOW + 60, WINDOW) == "10 s of 7 days are known"


def test_a_new_member_that_is_read_a_moment_later_leaves_the_window_whole() -> None:
    """Its first process may need some time; if it is restarted before its first reading, something is missing."""
    seen = after((0, [node("a")]), (WINDOW, [node("a")]))
    joined = after((WINDOW + 60, [node("a"), silent("b")]), (WINDOW + 3600, [node("a"), silent("b")]), evidence=seen)
    assert not joined.whole(START + WINDOW + 3600, WINDOW)
    at = WINDOW + 3660
    first, second = node("b", started=START + WINDOW + 100), node("b", started=START + WINDOW + 600)
    assert after((at, [node("a"), first]), evidence=joined).whole(START + at, WINDOW)
    assert not after((at, [node("a"), second]), evidence=joined).whole(START + at, WINDOW)


def test_a_node_that_joined_while_nobody_watched_may_have_been_restarted() -> None:
    """The process that is there after three days is its first one only if it began when the agent was stopped."""
    seen = after((0, [node("a")]), (WINDOW, [node("a")]))
    back, joined = WINDOW + 3 * DAY, START + WINDOW + 2 * DAY
    assert not after((back, [node("a"), node("b", started=joined)]), evidence=seen).whole(START + back, WINDOW)


def test_the_members_before_the_first_reading_are_not_known() -> None:
    """One of them may have left a day ago: processes that are older do not show what it did."""
    seen = after((0, [node(started=START - DAY)]), (60, [node(started=START - DAY)]))
    assert seen.missing(START + 60, WINDOW) == "60 s of 7 days are known"


def test_a_member_that_leaves_leaves_its_gap() -> None:
    """What a node did that was not read is still not known once it is gone, or missing in one snapshot."""
    quiet, late = node("a", Write__ALL=1), 8 * DAY
    seen = after((0, [node("a"), node("b")]), (60, [quiet, node("b")]), (late, [quiet, silent("b")]))
    gone = after((late + 60, [quiet]), evidence=seen)
    assert gone.missing(START + late + 60, WINDOW) == "0 s of 7 days are known"
    assert used(gone) == {"write ALL": 0}
    never = after((0, [quiet, silent("b")]), (late, [quiet, silent("b")]), (late + 60, [quiet]))
    assert never.missing(START + late + 60, WINDOW) == "0 s of 7 days are known"
    back = after((late + 60, [quiet, node("b", started=START + late)]), (late + 120, [quiet]), evidence=seen)
    assert back.missing(START + late + 120, WINDOW) == "2 min of 7 days are known"
    moment = after((0, [quiet]), (late, [quiet]), (late + 60, [quiet, silent("b")]), (late + 120, [quiet]))
    assert moment.whole(START + late + 120, WINDOW)  # it was a member for a minute


def test_an_older_document_knows_who_was_read() -> None:
    """A node without a reading is no new one; one that is named as a gap and gone leaves the window incomplete."""

    def older(*readings: tuple[float, list[NodeRequests]]) -> Evidence:
        document = plain(after(*readings))
        return read_plain({key: value for key, value in document.items() if key not in {"unread", "floor"}})

    at, quiet = WINDOW + 60, node("a")
    assert after((at, [quiet]), evidence=older((0, [quiet]), (WINDOW, [quiet]))).whole(START + at, WINDOW)
    new = node("b", started=START + WINDOW + 30)
    assert not after((at, [quiet, new]), evidence=older((0, [quiet]), (WINDOW, [quiet]))).whole(START + at, WINDOW)
    dark = older((0, [quiet, silent("b")]), (WINDOW, [quiet, silent("b")]))
    assert after((at, [quiet]), evidence=dark).missing(START + at, WINDOW) == "0 s of 7 days are known"


def test_a_longer_window_begins_where_the_shorter_one_did() -> None:
    """The uses before it were dropped; this holds for other sources, and before the first reading with it."""
    use = Use("orders", "dc1", Level.QUORUM)
    seen, told = after((0, [node()])), reported(Evidence(), {use: 1}, START, DAY, DAY)
    for hour in range(1, 9 * 24):
        seen = noted(seen, [node(Write__ALL=1)], START + hour * 3600, DAY)
        told = reported(told, {}, START + hour * 3600, DAY, DAY)
    at = START + hour * 3600 + 60
    assert (used(seen), told.uses) == ({}, {})
    assert seen.whole(at, DAY)
    for found, now in ((seen, at), (noted(seen, [node(Write__ALL=1)], at, WINDOW), at), (told, at - 60)):
        assert found.missing(now, WINDOW, DAY) == "1 day of 7 days are known"
    assert reported(told, {}, at, WINDOW, DAY).missing(at, WINDOW, DAY) == "1 day of 7 days are known"
    assert noted(seen, [node(Write__ALL=1)], at, DAY / 2).whole(at, DAY / 2)


@pytest.mark.parametrize(("value", "scans"), [(None, {}), (5.0, {"": 5.0}), ({"dc1": 5}, {"dc1": 5.0})])
def test_an_older_document_has_scans_of_no_known_datacenter(value: object, scans: dict[str, float]) -> None:
    """They may have been in any datacenter."""
    assert read_plain(plain(Evidence()) | {"scans": value}).scans == scans


def test_an_older_document_shows_how_long_its_window_was() -> None:
    """The counts that it kept reach back almost as far."""
    seen = after((0, [node()]))
    for hour in range(1, 9 * 24):
        seen = noted(seen, [node(Write__ALL=hour)], START + hour * 3600, WINDOW)
    document = plain(seen)
    del document["window"]
    read, at = read_plain(document), START + hour * 3600
    assert read.whole(at, 0.9 * WINDOW)
    assert read.missing(at, WINDOW) == "6 days of 7 days are known"
    assert read.missing(at, 2 * WINDOW) == "6 days of 14 days are known"


def test_a_quick_restart_leaves_the_window_whole() -> None:
    """The new process starts within the patience after the last reading; after a longer time the window starts anew."""
    whole = after((0, [node()]), (WINDOW, [node()]))
    quick = after((WINDOW + 90, [node(started=START + WINDOW + 40)]), evidence=whole)
    assert quick.whole(START + WINDOW + 90, WINDOW)
    slow = after((WINDOW + 2 * PATIENCE, [node(started=START + WINDOW + PATIENCE + 1)]), evidence=whole)
    assert not slow.whole(START + WINDOW + 2 * PATIENCE, WINDOW)


@pytest.mark.parametrize("generation", [None, 7])
def test_a_table_that_is_not_read_once_is_no_restart(generation: int | None) -> None:
    """What was counted before is not counted again; nor are the logins, once the table can be read again."""
    old = replace(node(logins=1000, Read__LOCAL_QUORUM=1000, Write__ALL=2), generation=generation, started=None)
    fewer = replace(node(logins=400, Read__LOCAL_QUORUM=1000, Write__ALL=2), generation=generation, started=None)
    seen = after((0, [old]), (60, [fewer]))
    assert used(seen) == {}
    queries = replace(node(logins=1001, Read__LOCAL_QUORUM=1051, Write__ALL=2), started=None)
    assert used(after((120, [queries]), evidence=seen)) == {"read LOCAL_QUORUM": 50 - 1 - IN_FLIGHT + 1}


def test_logins_that_were_not_known_before_are_none() -> None:
    """A sum that appears has been counted at any time, so it takes no query of a client away."""
    counts = dict(node().counts or {})
    del counts[LOGINS]
    seen = after((0, [replace(node(), counts=counts)]), (60, [node(logins=1000, Read__LOCAL_QUORUM=50)]))
    assert used(seen) == {"read LOCAL_QUORUM": 50}


def test_the_start_of_gossip_is_not_compared_with_that_of_the_process() -> None:
    """It is some seconds later, and stands in only if no start of the process was ever known."""
    gossip = int(START - 30 * DAY) + 20
    both = replace(node(Write__ALL=2), generation=gossip)
    seen = after((0, [both]), (60, [replace(both, started=None)]), (120, [both]))
    assert used(seen) == {}
    assert used(after((180, [replace(both, generation=gossip + 9)]), evidence=seen)) == {}
    only = replace(both, started=None)
    assert used(after((0, [only]), (60, [replace(only, generation=gossip + 9)]))) == {"write ALL": 2}


def test_a_restart_that_may_have_been_is_a_gap_if_the_node_was_not_read() -> None:
    """No start time is known, and the counters are higher than before: they may be those of another process."""
    whole = after((0, [node(started=None)]), (PATIENCE, [node(started=None)]))
    for at in range(600, int(WINDOW) + 600, 300):
        whole = after((at, [node(started=None)]), evidence=whole)
    assert whole.whole(START + at, WINDOW)
    again = after((at + PATIENCE + 1, [node(started=None, Write__LOCAL_ONE=5)]), evidence=whole)
    assert again.missing(START + at + PATIENCE + 1, WINDOW) == "0 s of 7 days are known"
    gossip = replace(node(started=None), generation=7)
    same = after((0, [gossip]), (WINDOW, [gossip]))
    assert same.whole(START + WINDOW, WINDOW)


def test_a_start_before_the_last_reading_is_that_of_a_wrong_clock() -> None:
    """The process was started at some time after that reading, so what its predecessor did is not known."""
    whole = after((0, [node()]), (WINDOW, [node()]))
    at = WINDOW + 6000
    slow = after((at, [node(started=START + at - 7200)]), evidence=whole)
    assert slow.missing(START + at, WINDOW) == "0 s of 7 days are known"
    late = after((at, [node(started=START + WINDOW + 60)]), evidence=whole)  # Cassandra was slow to start
    assert late.whole(START + at, WINDOW)
    quick = after((WINDOW + 60, [node(started=START + WINDOW - 7200)]), evidence=whole)
    assert quick.whole(START + WINDOW + 60, WINDOW)


def test_a_clock_that_is_set_drops_nothing_and_begins_the_window_anew() -> None:
    """A poll with the clock 30 days ahead, and the next one with the right time again."""
    seen, at = after((0, [node()]), (60, [node(Write__ALL=3)]), (WINDOW + 59, [node(Write__ALL=3)])), WINDOW + 59
    leap = START + at + 30 * DAY
    ahead = noted(clock_set(seen, leap), [node(Write__ALL=3)], leap, WINDOW)
    assert list(used(ahead)) == ["write ALL"]
    assert ahead.missing(leap, WINDOW) == "0 s of 7 days are known"
    back = noted(clock_set(ahead, START + at + 60), [node(Write__ALL=3)], START + at + 60, WINDOW)
    assert list(used(back)) == ["write ALL"]
    assert back.missing(START + at + 120, WINDOW) == "60 s of 7 days are known"
    end = at + 60 + WINDOW
    assert used(after((end, [node(Write__ALL=3)]), (end + PATIENCE, [node(Write__ALL=3)]), evidence=back)) == {}
    use = Use("orders", "dc1", Level.QUORUM)
    told = reported(reported(Evidence(), {use: 1}, START, WINDOW, WINDOW), {}, START + WINDOW - 1, WINDOW, WINDOW)
    later = reported(clock_set(told, leap), {}, leap, WINDOW, 60 * DAY)
    assert use in later.uses
    assert later.missing(leap, WINDOW) == "0 s of 7 days are known"


def test_a_new_process_drops_nothing_until_its_clock_is_set() -> None:
    """Its host may have started with any time; a time before the last reading is certainly wrong."""
    seen, back = after((0, [node()]), (60, [node(Write__ALL=3)])), START + 30 * DAY
    ahead = noted(resumed(seen, back), [node(Write__ALL=3)], back, WINDOW)
    assert list(used(ahead)) == ["write ALL"]
    assert used(noted(ahead, [node(Write__ALL=3)], back + PATIENCE, WINDOW)) == {}
    proxy = reported(Evidence(), {Use("orders", "dc1", Level.QUORUM): 1}, START, WINDOW, 3600)
    sources = Sources(evidence={"counters": ahead, "proxy": proxy})
    for at, keyspaces in ((back, {"orders", EVERY}), (back + PATIENCE, {EVERY})):
        assert set(sources.observed(at, Following(window=WINDOW), ("dc1",), 0).keyspaces) == keyspaces
    early = resumed(seen, START - 30 * DAY)
    assert early == clock_set(seen, START - 30 * DAY)


def test_old_releases_do_not_count() -> None:
    """They are named, whatever else can be read from them."""
    seen = after((0, [node(), silent("b", release="3.0.29")]))
    assert seen.missing(START, WINDOW) == "10.0.0.b: Cassandra before 3.10 does not count queries by level"
    denied = after((0, [silent("b", problem="its access policy forbids it")]))
    assert denied.missing(START, WINDOW) == "10.0.0.b: its access policy forbids it"


# Logins


def test_reads_of_system_auth_are_not_counted_as_use() -> None:
    """As many reads as the tables count are left out, at the level of logins and at QUORUM; one more is a use."""
    seen = after((0, [node()]), (60, [node(logins=40, Read__LOCAL_QUORUM=30, Read__QUORUM=10)]))
    assert used(seen) == {}
    more = after((120, [node(logins=60, Read__LOCAL_QUORUM=51, Read__QUORUM=10)]), evidence=seen)
    assert used(more) == {"read LOCAL_QUORUM": 1}


def test_each_node_reads_system_auth_at_a_level_of_its_own() -> None:
    """The reads of a node are left out at the level that it reports; the cluster's is for nodes that report none."""
    own = replace(node(logins=5, Read__LOCAL_QUORUM=5, Read__LOCAL_ONE=5), auth_read_level="LOCAL_ONE")
    seen = after((0, [node()]), (60, [own]))
    assert used(seen) == {"read LOCAL_QUORUM": 5}


def test_logins_before_4_1_are_at_local_one() -> None:
    """Reads at LOCAL_QUORUM are the clients' own on those releases."""
    old = {"release": "3.11.19"}
    seen = after((0, [node(**old)]), (60, [node(**old, logins=9, Read__LOCAL_ONE=9, Read__LOCAL_QUORUM=1)]))  # type: ignore[arg-type]  # no counts
    assert used(seen) == {"read LOCAL_QUORUM": 1}


def test_what_can_be_a_login_or_a_query_is_a_query() -> None:
    """If there are more reads at two levels than reads of system_auth, it is not known which are the clients'."""
    seen = after((0, [node()]), (60, [node(logins=5, Read__LOCAL_QUORUM=100, Read__QUORUM=5)]))
    assert used(seen) == {"read LOCAL_QUORUM": 100, "read QUORUM": 5}


def test_a_login_in_flight_is_not_counted_as_use() -> None:
    """The table has counted it and the level has not yet, or both were first read in between."""
    behind = after(
        (0, [node()]), (60, [node(logins=3, Read__LOCAL_QUORUM=2)]), (120, [node(logins=3, Read__LOCAL_QUORUM=3)])
    )
    assert used(behind) == {}
    first = after((0, [node(logins=7)]), (60, [node(logins=7, Read__LOCAL_QUORUM=IN_FLIGHT)]))
    assert used(first) == {}
    assert used(after((120, [node(logins=7, Read__LOCAL_QUORUM=IN_FLIGHT + 1)]), evidence=first)) == {
        "read LOCAL_QUORUM": 1
    }


def test_only_the_level_of_logins_has_reads_in_flight() -> None:
    """Reads at QUORUM without a login are those of clients; the reads in flight are still subtracted later."""
    seen = after(
        (0, [node(logins=5, Read__LOCAL_QUORUM=5)]), (60, [node(logins=5, Read__LOCAL_QUORUM=5, Read__QUORUM=3)])
    )
    assert used(seen) == {"read QUORUM": 3}
    late = node(logins=5, Read__LOCAL_QUORUM=5 + IN_FLIGHT, Read__QUORUM=3)
    assert used(after((120, [late]), evidence=seen)) == {"read QUORUM": 3}
    both = node(logins=9, Read__LOCAL_QUORUM=5 + IN_FLIGHT, Read__QUORUM=7)
    assert used(after((120, [both]), evidence=seen)) == {"read QUORUM": 3}
    more = node(logins=9, Read__LOCAL_QUORUM=6, Read__QUORUM=8)
    assert used(after((120, [more]), evidence=seen)) == {"read QUORUM": 8, "read LOCAL_QUORUM": 1}


def test_writes_of_system_auth_are_no_use() -> None:
    """CREATE ROLE writes at EACH_QUORUM on 4.1 and later; one more write is a use."""
    seen = after((0, [node()]), (60, [node(roles=3, Write__EACH_QUORUM=3)]))
    assert used(seen) == {}
    more = after((120, [node(roles=3, Write__EACH_QUORUM=4, Write__LOCAL_QUORUM=1)]), evidence=seen)
    assert used(more) == {"write EACH_QUORUM": 1, "write LOCAL_QUORUM": 1}


def test_scans_are_noted_by_datacenter() -> None:
    """The time of the last one is kept for a window, and longer if part of the window is not known."""
    assert after((0, [node()])).scans == {}
    seen = after((0, [node(), node("b")]), (60, [node(scans=1), node("b")]))
    assert seen.scans == {"dc1": START + 60}
    later = 60 + WINDOW
    silenced = after((later, [node(scans=1), silent("b")]), evidence=seen)
    assert silenced.scans == {"dc1": START + 60}
    assert after((later, [node(scans=1), node("b")]), evidence=seen).scans == {}


# Sources that report


def test_reports_add_and_a_silent_source_takes_nothing_away() -> None:
    """A use stays until a window of reports without a gap has passed."""
    use = Use("orders", "dc1", Level.QUORUM)
    seen = reported(Evidence(), {use: 5}, START, WINDOW, 3600)
    assert seen.uses[use].total == 5
    late = reported(seen, {}, START + 2 * WINDOW, WINDOW, 3600)
    assert use in late.uses
    assert late.missing(START + 2 * WINDOW, WINDOW, 3600) == "0 s of 7 days are known"
    for hour in range(1, 7 * 24 + 1):
        late = reported(late, {}, START + 2 * WINDOW + hour * 3600, WINDOW, 3600)
    assert late.uses == {}
    assert failed(late, "HTTP 500").missing(late.at or 0, WINDOW, 3600) == "HTTP 500"


def test_series_are_counters() -> None:
    """The first reading is the start; a series that appears later starts at zero, and so does one that went down."""
    use, other = Use("orders", "dc1", Level.QUORUM), Use("bills", "dc1", Level.ONE)
    seen = sampled(Evidence(), {"x": (use, 100)}, START, WINDOW, 900)
    assert seen.uses == {}
    seen = sampled(seen, {"x": (use, 101), "y": (other, 4)}, START + 300, WINDOW, 900)
    assert {key: found.total for key, found in seen.uses.items()} == {use: 1, other: 4}
    seen = sampled(seen, {"x": (use, 7)}, START + 600, WINDOW, 900)
    assert seen.uses[use].total == 8
    assert seen.whole(START + 600, 600)


def test_a_proxy_alone_is_enough_only_if_no_node_has_counters() -> None:
    """Counters of which nothing is known, because their document is broken, are missing."""
    proxy = plain(reported(Evidence(), {Use("orders", "dc1", Level.ONE): 1}, START - WINDOW, WINDOW, 2 * WINDOW))
    proxy["at"] = START
    old = plain(after((0, [silent(release="3.0.29")])))

    def unclear(counters: object) -> tuple[str, ...]:
        sources = read_sources({"proxy": proxy, "counters": counters})
        return sources.observed(START, Following(window=WINDOW), ("dc1",), 0).unclear

    assert unclear(old) == ()
    assert unclear({"uses": "broken"}) == ("counters: nothing was read yet",)


def test_earlier_evidence_is_kept_until_the_later_one_has_a_window() -> None:
    """Both have uses; only the later one says since when everything is known."""
    earlier = after((0, [node()]), (60, [node(Write__ALL=2)]))
    later = after((DAY, [node(scans=1)]), (DAY + 60, [node(Write__ALL=1, scans=2)]))
    both = merged(earlier, later)
    assert used(both) == {"write ALL": 3}
    assert both.missing(START + DAY + 60, WINDOW) == "60 s of 7 days are known"
    assert both.scans == {"dc1": START + DAY + 60}
    assert merged(Evidence(), later) == later
    assert merged(earlier, failed(Evidence(), "HTTP 500")) == failed(earlier, "HTTP 500")


# What always holds

MOMENT = st.tuples(
    st.floats(1, 2 * DAY),
    st.sampled_from(["idle", "idle", "use", "restart", "restart and use", "silent"]),
)


@given(st.lists(MOMENT, min_size=1, max_size=40))
def test_nothing_is_forgotten_without_a_whole_window(moments: list[tuple[float, str]]) -> None:
    """Whatever happens, a level that was used less than a window ago is known as used, if any reading could show it."""
    at, started, count, used_at = START, START - 30 * DAY, 0, None
    seen = after((0, [node()]))
    for step, what in moments:
        at += step
        if "restart" in what:
            started, count = at - step / 2, 0
        if "use" in what:
            count, used_at = count + 1, at
        found = silent() if what == "silent" else node(started=started, Read__ALL=count)
        before, seen = seen, noted(seen, [found], at, WINDOW)
        lost = {use for use in before.uses if use not in seen.uses}
        assert not lost or seen.whole(at, WINDOW)
        assert not lost or all(at - before.uses[use].last >= WINDOW for use in lost)
        if used_at is not None and at - used_at < WINDOW and what != "silent" and count:
            assert "read ALL" in used(seen)


@given(st.lists(MOMENT, min_size=1, max_size=10))
def test_the_state_file_keeps_all_of_it(moments: list[tuple[float, str]]) -> None:
    """It survives being written as JSON and read back."""
    seen, at = after((0, [node("a"), node("b")])), START
    for number, (step, what) in enumerate(moments):
        at += step
        seen = noted(seen, [silent("a") if what == "silent" else node("a", Write__ALL=number), node("b")], at, WINDOW)
    assert read_plain(json.loads(json.dumps(plain(seen)))) == seen


@pytest.mark.parametrize("broken", [{}, {"uses": 1}, {"uses": [], "readings": [], "at": 1, "since": 2, "scans": None}])
def test_broken_state_is_refused(broken: dict[str, Any]) -> None:
    """The error is one that the reader expects."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_plain(broken)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (90, "90 s"), (300, "5 min"), (7200, "2 h"), (86400, "1 day"), (WINDOW, "7 days")],
)
def test_spans_as_text(seconds: float, text: str) -> None:
    """The unit is the largest of which there are at least two, or a single day."""
    assert span(seconds) == text
