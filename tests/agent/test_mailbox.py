"""The mailbox: the newest item of a key replaces the older one, and stopping waits for the items that are left."""

from __future__ import annotations

import threading

from ringcheck.agent.mailbox import Mailbox

PATIENCE = 60.0  # seconds; generous, so that a busy machine does not fail a test


def test_the_newest_item_of_a_key_replaces_the_older_one() -> None:
    """Keys are processed in the order in which they were added; a key that is forgotten is dropped."""
    begun, go, done = threading.Event(), threading.Event(), list[str]()

    def work(item: str) -> None:
        begun.set()
        go.wait(PATIENCE)
        done.append(item)

    box = Mailbox("mailbox", work)
    box.start()
    box.put("a", "first")
    assert begun.wait(PATIENCE)
    for key, item in (("b", "old"), ("c", "dropped"), ("d", "last"), ("b", "new")):
        box.put(key, item)
    box.forget("c")
    box.end()
    assert not box.join(0.01)
    go.set()
    assert box.join(PATIENCE)
    assert done == ["first", "new", "last"]


def test_a_mailbox_that_never_started_has_ended() -> None:
    """Its owner may be stopped before it is started."""
    assert Mailbox("mailbox", print).join(0.0)
