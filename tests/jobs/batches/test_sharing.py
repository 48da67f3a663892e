"""Units that fail come again, later each time, and are given up in the end."""

from __future__ import annotations

import time

import pytest

from geodiff.errors import DataError, ModelError, UsageError
from geodiff.jobs.batches import sharing
from geodiff.jobs.batches.sharing import Queue, reason_of
from geodiff.jobs.batches.units import Unit

ONE, TWO = Unit("one", "one", 1, 0), Unit("two", "two", 1, 0)


def test_a_unit_comes_again_after_the_others_and_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "DELAY", 0.05)
    queue = Queue([ONE, TWO], retries=2)
    assert queue.take() == (1, ONE)
    assert queue.failed(ONE, 1, DataError("busy")) is None
    assert queue.take() == (1, TWO)
    assert queue.take() is None  # too soon
    assert 0 < queue.rest() <= 0.05
    time.sleep(queue.rest())
    assert queue.take() == (2, ONE)
    assert queue.failed(ONE, 2, DataError("busy")) is None
    assert 0.05 < queue.rest() <= 0.1  # twice as long
    time.sleep(queue.rest())
    assert queue.take() == (3, ONE)
    outcome = queue.failed(ONE, 3, DataError("still\nbusy"))
    assert outcome is not None
    assert (outcome.attempts, outcome.reason, outcome.made) == (3, "still busy", None)
    assert not queue


def test_what_is_wrong_with_the_request_is_not_tried_again() -> None:
    queue = Queue([ONE], retries=5)
    queue.take()
    assert queue.failed(ONE, 1, UsageError("no")) is not None
    with pytest.raises(ModelError):
        queue.failed(TWO, 1, ModelError("another model"))


def test_the_unexpected_is_named() -> None:
    assert reason_of(KeyError("x")) == "unexpected KeyError: 'x'"
    assert reason_of(ValueError()) == "unexpected ValueError: ValueError"
