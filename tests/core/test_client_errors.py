"""What coordinators counted between two readings: errors by level, resets, and hints that are still undelivered."""

from __future__ import annotations

from ringcheck.core.client_errors import ClientCounters, by_name, hints_left, in_words, new_errors


def counters(created: int | None = 0, delivered: int | None = 0, **errors: int) -> ClientCounters:
    """Counters of a node; errors are named like `Read_QUORUM__Unavailables`."""
    split = (key.partition("__") for key in errors)
    named = {(scope.replace("_", "-", 1), name): key for key, (scope, _, name) in zip(errors, split, strict=True)}
    found = {place: errors[key] for place, key in named.items()}
    return ClientCounters(errors=found, hints_created=created, hints_delivered=delivered)


def test_errors_are_added_over_all_coordinators() -> None:
    """Each coordinator counts its own clients; counters that did not grow are not listed."""
    before = {"a": counters(Read_QUORUM__Timeouts=5), "b": counters(Read_QUORUM__Timeouts=1, Write_ONE__Failures=2)}
    after = {"a": counters(Read_QUORUM__Timeouts=6), "b": counters(Read_QUORUM__Timeouts=3, Write_ONE__Failures=2)}
    assert new_errors(before, after, ()) == {("Read-QUORUM", "Timeouts"): 3}


def test_the_sum_over_all_levels_is_not_counted_twice() -> None:
    """From 3.11 on a read at QUORUM is counted under both `Read` and `Read-QUORUM`; before that, under `Read` alone."""
    both = {"a": counters(Read__Timeouts=2, Read_QUORUM__Timeouts=2, CASRead__Timeouts=1)}
    zero = {"a": counters(Read__Timeouts=0, Read_QUORUM__Timeouts=0, CASRead__Timeouts=0)}
    assert new_errors(zero, both, ()) == {("Read-QUORUM", "Timeouts"): 2, ("CASRead", "Timeouts"): 1}
    old = new_errors({"a": counters(Read__Timeouts=1)}, {"a": counters(Read__Timeouts=3)}, ())
    assert old == {("Read", "Timeouts"): 2}


def test_a_process_that_is_new_counts_from_zero() -> None:
    """A smaller counter shows it; if a node is known to be restarted, a larger counter counts in full too."""
    before = {"a": counters(Read_ONE__Unavailables=10)}
    assert new_errors(before, {"a": counters(Read_ONE__Unavailables=4)}, ()) == {("Read-ONE", "Unavailables"): 4}
    assert new_errors(before, {"a": counters(Read_ONE__Unavailables=12)}, ("a",)) == {("Read-ONE", "Unavailables"): 12}
    assert new_errors({}, {"a": counters(Read_ONE__Unavailables=3)}, ()) == {("Read-ONE", "Unavailables"): 3}


def test_errors_are_written_with_the_most_frequent_first() -> None:
    """The level comes before the metric; equal numbers are sorted by name."""
    errors = {("Write-ONE", "Timeouts"): 3, ("Read-QUORUM", "Unavailables"): 12, ("CASRead", "Timeouts"): 3}
    named = {"CASRead Timeouts": 3, "Read-QUORUM Unavailables": 12, "Write-ONE Timeouts": 3}
    assert by_name(errors) == named
    assert in_words(named) == "12 Read-QUORUM Unavailables, 3 CASRead Timeouts, 3 Write-ONE Timeouts"
    assert in_words({}) == ""


def test_hints_are_left_until_as_many_are_delivered_as_were_created() -> None:
    """Hints from before the first reading do not count; a node that restarted or reports none proves nothing."""
    before = {"a": counters(created=10, delivered=4), "b": counters()}
    assert hints_left(before, {"a": counters(created=15, delivered=6), "b": counters(2)}) == {"a": 3, "b": 2}
    assert hints_left(before, {"a": counters(created=15, delivered=9), "b": counters()}) == {}
    assert hints_left(before, {"a": counters(created=3, delivered=0), "b": counters()}) == {}
    assert hints_left(before, {"a": counters(created=15, delivered=6)}) is None
    assert hints_left(before, {"a": counters(created=None), "b": counters()}) is None


def test_old_hints_that_one_node_delivers_are_not_the_new_ones_of_another() -> None:
    """Each node's hints are counted separately."""
    before = {"a": counters(created=90, delivered=0), "b": counters()}
    assert hints_left(before, {"a": counters(created=90, delivered=80), "b": counters(created=3)}) == {"b": 3}
