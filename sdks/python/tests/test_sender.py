from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from runtide._client import Client
from runtide._sender import Sender, Settings

from conftest import Wait
from tracker import KEY, Fault, Tracker

RUN = "run"
FAST = Settings(batch_points=10, interval_s=0.005, first_backoff_s=0.002, longest_backoff_s=0.02)

Make = Callable[..., Sender]
Trace = Callable[[FrameType, str, Any], Any]


@pytest.fixture
def make(tracker: Tracker) -> Iterator[Make]:
    tracker.runs[RUN] = {}
    senders: list[Sender] = []

    def make(settings: Settings = FAST, **changes: Any) -> Sender:
        sender = Sender(Client(tracker.url, KEY), RUN, 1, Settings(**{**vars(settings), **changes}))
        sender.start()
        senders.append(sender)
        return sender

    yield make
    for sender in senders:
        sender.close(0, None)


def finish(sender: Sender, timeout_s: float = 20.0) -> None:
    sender.close(timeout_s, {"status": "COMPLETED", "exitCode": 0})


def only(operation_name: str, fault: Fault) -> Callable[[str, dict[str, Any]], Fault | None]:
    return lambda operation, input: fault if operation == operation_name else None


def test_batches_are_columns_in_order_and_bounded(tracker: Tracker, make: Make) -> None:
    sender = make()
    for step in range(1_000):
        sender.add(step, step, {"a": step, "b": -step, "c": 0.5})
    finish(sender)
    assert tracker.values("a") == list(range(1_000))
    assert tracker.values("b") == [-step for step in range(1_000)]
    sent = tracker.operations("LogMetrics")
    assert [batch["batch"] for batch in sent] == list(range(1, len(sent) + 1))
    assert {batch["writer"] for batch in sent} == {sender.writer}
    for batch in sent:
        points = [len(metric["steps"]) for metric in batch["metrics"]]
        assert sum(points) <= 10
        assert len(set(points)) == 1, "the points of one step share a batch"


def test_ctrl_c_while_points_are_queued_leaves_no_lock_taken(tracker: Tracker, make: Make, wait_until: Wait) -> None:
    sender = make()

    def interrupt(frame: FrameType, event: str, _: object) -> Trace:
        code = frame.f_code
        if event == "return" and (code.co_filename, code.co_name) == (threading.__file__, "__enter__"):
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            sender.add(0, 0, {"x": 0})
    finally:
        sys.settrace(before)
    for step in range(20):
        sender.add(step, 0, {"y": step})
    wait_until(lambda: tracker.values("y") == list(range(20)))


def test_one_log_of_more_metrics_than_a_batch_holds(tracker: Tracker, make: Make) -> None:
    sender = make()
    sender.add(3, 0, {f"m{index}": index for index in range(35)})
    finish(sender)
    assert len(tracker.operations("LogMetrics")) == 4
    assert dict(tracker.points) == {f"m{index}": [(3, 0, float(index))] for index in range(35)}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_network_does_every_point_counts_once(tracker: Tracker, make: Make, seed: int) -> None:
    chance = random.Random(seed)
    faults = [
        Fault(cut="before"),
        Fault(cut="after"),
        Fault(cut="inside"),
        Fault(status=500, code="INTERNAL"),
        Fault(code="UNAVAILABLE", extensions={"retryAfterMs": 3}),
        Fault(status=429, code="RATE_LIMITED", headers={"retry-after": "0.003"}),
        Fault(status=503, text="Service Unavailable", headers={"retry-after": "0"}),
        Fault(status=502, text="<html>Bad Gateway</html>"),
        Fault(status=200, text="a captive portal"),
        Fault(status=200, text="{}"),
        Fault(status=401, code="UNAUTHENTICATED"),
        Fault(delay_s=0.01),
    ]
    lock = threading.Lock()

    def plan(operation: str, input: dict[str, Any]) -> Fault | None:
        with lock:
            return chance.choice(faults) if chance.random() < 0.6 else None

    tracker.faults = plan
    sender = make()
    for step in range(1_500):
        sender.add(step, step, {"x": step})
        if step % 300 == 0:
            time.sleep(0.01)
    finish(sender)

    sent = tracker.operations("LogMetrics")
    first: dict[int, dict[str, Any]] = {}
    for batch in sent:
        assert first.setdefault(batch["batch"], batch) == batch, "a retry is the same batch"
    assert len(sent) > len(first), "the faults made it retry"
    assert tracker.applied == [(sender.writer, number) for number in range(1, len(first) + 1)]
    assert tracker.points["x"] == [(step, step, float(step)) for step in range(1_500)]
    assert (sender.counts.delivered, sender.counts.refused, sender.undelivered) == (1_500, 0, 0)
    assert sender.finished


def test_a_server_that_goes_and_comes_back(
    tracker: Tracker, make: Make, wait_until: Wait, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.faults = lambda operation, input: Fault(cut="before")
    sender = make()
    for step in range(100):
        sender.add(step, step, {"x": step})
    wait_until(lambda: len(tracker.requests) > 20)
    assert {input["batch"] for input in tracker.operations("LogMetrics")} == {1}
    tracker.faults = lambda operation, input: None
    finish(sender)
    assert tracker.values("x") == list(range(100))
    said = capsys.readouterr().err
    assert said.count("points are kept") == 1
    assert said.count("answers again") == 1


@pytest.mark.parametrize("code", ["INVALID_INPUT", "NOT_FOUND", "CONFLICT", "FORBIDDEN", "GRAPHQL_VALIDATION_FAILED"])
def test_a_refused_batch_is_set_aside_and_its_number_is_filled(
    tracker: Tracker, make: Make, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    def plan(operation: str, input: dict[str, Any]) -> Fault | None:
        bad = operation == "LogMetrics" and any("bad" in metric["name"] for metric in input["metrics"])
        return Fault(status=400, code=code) if bad else None

    tracker.faults = plan
    sender = make()
    for step in range(100):
        sender.add(step, 0, {f"good{index}": step for index in range(10)})
        sender.add(step, 0, {f"bad{index}": step for index in range(10)})
    finish(sender)
    assert sender.counts.refused == 1_000
    assert sender.counts.delivered == 1_000
    assert tracker.values("good0") == list(range(100))
    assert tracker.applied == [(sender.writer, number) for number in range(1, 201)]
    attempts = [(input["batch"], len(input["metrics"])) for input in tracker.operations("LogMetrics")]
    assert attempts[:4] == [(1, 10), (2, 10), (2, 0), (3, 10)]
    said = capsys.readouterr().err
    assert said.count("refused 10 points") == 1
    assert code in said


def test_a_deleted_run_costs_its_points_and_nothing_else(
    tracker: Tracker, make: Make, wait_until: Wait, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = make()
    sender.add(0, 0, {"x": 0})
    wait_until(lambda: tracker.values("x") == [0])
    run = tracker.runs.pop(RUN)
    for step in range(1, 1_001):
        sender.add(step, 0, {"x": step})
    wait_until(lambda: sender.counts.refused == 1_000)
    assert max(input["batch"] for input in tracker.operations("LogMetrics")) <= 1 + 64
    tracker.runs[RUN] = run
    sender.add(1_001, 0, {"x": 1_001})
    wait_until(lambda: sender.undelivered == 0)
    sender.add(1_002, 0, {"x": 1_002})
    finish(sender)
    assert tracker.values("x")[-1] == 1_002, "restored, it goes on"
    assert sender.undelivered == 0
    assert capsys.readouterr().err.count("refused") == 1


def test_retry_after_is_waited_for(tracker: Tracker, make: Make) -> None:
    plan = [
        Fault(code="RATE_LIMITED", extensions={"retryAfterMs": 250}),
        Fault(status=503, text="busy", headers={"retry-after": "0.25"}),
    ]
    tracker.faults = lambda operation, input: plan.pop(0) if plan and operation == "LogMetrics" else None
    sender = make()
    sender.add(0, 0, {"x": 0})
    finish(sender)
    arrivals = [at for operation, _, at in tracker.requests if operation == "LogMetrics"]
    assert len(arrivals) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(arrivals)) >= 0.25


def test_a_revoked_key_is_said_once_and_tried_again(
    tracker: Tracker, make: Make, wait_until: Wait, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.faults = only("LogMetrics", Fault(status=401, code="UNAUTHENTICATED"))
    sender = make()
    sender.add(0, 0, {"x": 0})
    wait_until(lambda: len(tracker.requests) > 5)
    tracker.faults = lambda operation, input: None
    finish(sender)
    assert tracker.values("x") == [0]
    assert capsys.readouterr().err.count("API key") == 1


def test_a_full_queue_makes_log_wait_and_loses_nothing(
    tracker: Tracker, make: Make, wait_until: Wait, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.faults = lambda operation, input: Fault(cut="before")
    sender = make(queue_points=50)

    def work() -> None:
        for step in range(500):
            sender.add(step, 0, {"x": step})

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: sender.counts.waits > 0)
    assert sender.counts.logged <= 50 + 10
    tracker.faults = lambda operation, input: None
    thread.join(20)
    assert not thread.is_alive()
    finish(sender)
    assert tracker.values("x") == list(range(500))
    assert sender.counts.waited_s > 0
    assert capsys.readouterr().err.count("log() waits") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(delay_s=2.0, cut="before"), "no answer since "),
        (Fault(cut="before"), "no answer since "),
        (Fault(status=401, code="UNAUTHENTICATED"), "the server answers UNAUTHENTICATED"),
    ],
)
def test_an_outage_holds_up_training_for_a_bounded_time_and_costs_counted_points(
    tracker: Tracker,
    make: Make,
    wait_until: Wait,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
    reason: str,
) -> None:
    tracker.faults = lambda operation, input: fault
    sender = make(queue_points=50, longest_wait_s=1.2)
    since = time.monotonic()
    for step in range(1_000):
        sender.add(step, 0, {"x": step})
    assert 1.0 < time.monotonic() - since < 4, "all the calls together wait so long, and not each of them"
    kept = sender.counts.logged
    assert kept <= 50 + 10
    assert sender.counts.dropped == 1_000 - kept
    said = capsys.readouterr().err
    assert said.count("log() waits") == 1
    assert said.count("are dropped") == 1
    assert reason in said.split("are dropped")[1]
    assert "slower" not in said

    tracker.faults = lambda operation, input: None
    wait_until(lambda: sender.undelivered == 0)
    sender.add(1_000, 0, {"x": 1_000})
    finish(sender)
    assert tracker.values("x") == [*range(kept), 1_000], "with room again it logs as before"
    assert f"there is room again; {1_000 - kept} points were dropped" in capsys.readouterr().err


def test_each_outage_has_its_own_time(tracker: Tracker, make: Make, wait_until: Wait) -> None:
    sender = make(queue_points=50, longest_wait_s=0.2)
    for outage in (1, 2):
        tracker.faults = lambda operation, input: Fault(cut="before")
        for step in range(200):
            sender.add(step, 0, {"x": step})
        assert 0.15 * outage < sender.counts.waited_s < 0.2 * outage + 1
        tracker.faults = lambda operation, input: None
        wait_until(lambda: sender.undelivered == 0)


def test_only_the_wrong_part_of_an_update_is_set_aside(
    tracker: Tracker, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(operation: str, input: dict[str, Any]) -> Fault | None:
        bad = operation == "UpdateRun" and (input.get("name") == "bad" or "bad" in input.get("config", {}))
        return Fault(code="INVALID_INPUT") if bad else None

    tracker.faults = plan
    sender = make()
    with sender._changed:
        sender.update({"name": "bad", "tags": ["t"]})
        sender.update({"config": {"a": 1, "b": 2, "bad": 3, "c": 4}})
        sender.update({"summary": {"best": 5}, "notes": "n"})
    finish(sender)
    merged: dict[str, Any] = {"config": {}}
    for update in tracker.updates:
        merged["config"].update(update.pop("config", {}))
        merged.update(update)
    assert merged == {
        "id": RUN,
        "config": {"a": 1, "b": 2, "c": 4},
        "tags": ["t"],
        "summary": {"best": 5},
        "notes": "n",
    }
    said = capsys.readouterr().err
    assert said.count("refused a change") == 2
    assert "refused a change of name (INVALID_INPUT" in said
    assert "refused a change of config['bad'] (INVALID_INPUT" in said


def test_a_later_change_wins_over_a_part_that_was_set_apart(tracker: Tracker, make: Make, wait_until: Wait) -> None:
    bad = Fault(code="INVALID_INPUT")
    tracker.faults = lambda operation, input: bad if input.get("name") == "bad" else None
    sender = make()
    sender.update({"name": "bad", "notes": "old"})
    wait_until(lambda: tracker.operations("UpdateRun"))
    sender.update({"notes": "new"})
    finish(sender)
    assert [update["notes"] for update in tracker.updates if "notes" in update][-1] == "new"


def test_the_end_waits_no_longer_than_it_may_and_counts_what_is_left(tracker: Tracker, make: Make) -> None:
    tracker.faults = only("LogMetrics", Fault(code="UNAVAILABLE"))
    sender = make()
    for step in range(95):
        sender.add(step, 0, {"x": step})
    since = time.monotonic()
    finish(sender, timeout_s=0.5)
    assert time.monotonic() - since < 2
    assert sender.undelivered == 95
    assert "UNAVAILABLE" in (sender.last_error or "")
    assert sender.finished, "the run ends all the same"
    assert [end["status"] for end in tracker.finished] == ["COMPLETED"]


def test_the_end_does_not_wait_for_a_server_that_hangs(tracker: Tracker, make: Make) -> None:
    tracker.faults = only("LogMetrics", Fault(delay_s=3, cut="before"))
    sender = make()
    sender.add(0, 0, {"x": 0})
    since = time.monotonic()
    finish(sender, timeout_s=0.3)
    assert time.monotonic() - since < 2
    assert sender.undelivered == 1


def test_heartbeats_only_when_nothing_else_is_sent(tracker: Tracker, make: Make, wait_until: Wait) -> None:
    sender = make(heartbeat_s=0.2)
    wait_until(lambda: tracker.values("x") == list(range(50)) if tick(sender) else False)
    assert not tracker.heartbeats
    tracker.faults = only("Heartbeat", Fault(cut="before"))
    wait_until(lambda: len(tracker.operations("Heartbeat")) == 2)
    tracker.faults = lambda operation, input: None
    wait_until(lambda: tracker.heartbeats)
    assert tracker.heartbeats[0] == {"runId": RUN, "attempt": 1, "writer": sender.writer}


def tick(sender: Sender) -> bool:
    """Logs one more point; true when there are fifty."""
    if sender.counts.logged < 50:
        sender.add(sender.counts.logged, 0, {"x": sender.counts.logged})
    return sender.counts.logged == 50


def test_add_stays_fast_while_the_server_is_away(tracker: Tracker, make: Make) -> None:
    tracker.faults = lambda operation, input: Fault(delay_s=0.2, cut="before")
    sender = make(Settings())
    took = []
    for step in range(20_000):
        since = time.perf_counter()
        sender.add(step, 0, {"a": 1.0, "b": 2.0})
        took.append(time.perf_counter() - since)
    assert sender.counts.waits == 0
    assert sorted(took)[len(took) // 2] < 0.001


def test_a_fault_of_the_sender_itself_is_said_and_survived(
    tracker: Tracker, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = make()
    post, faults = sender._client.post, ["once"]

    def broken(*args: Any) -> dict[str, Any]:
        if faults:
            raise KeyError(faults.pop())
        return post(*args)

    monkeypatch.setattr(sender._client, "post", broken)
    sender.add(0, 0, {"x": 5})
    finish(sender)
    assert tracker.values("x") == [5]
    assert "KeyError" in capsys.readouterr().err
