# The background sender of one run in one process: a queue of points, one thread, one batch in flight. A batch keeps
# its number and its bytes until the server acknowledges or refuses it, so that it counts once whatever the network
# does. Nothing here raises into training code.
from __future__ import annotations

import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._client import READ_TIMEOUT_S, Client, encode
from ._exceptions import ServerError, UnreachableError
from ._points import Batch, Queue
from ._say import say

LOG_METRICS = (
    "mutation LogMetrics($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }"
)
UPDATE_RUN = "mutation UpdateRun($input: UpdateRunInput!) { updateRun(input: $input) { run { id } } }"
FINISH_RUN = "mutation FinishRun($input: FinishRunInput!) { finishRun(input: $input) { run { id status } } }"
HEARTBEAT = "mutation Heartbeat($input: HeartbeatInput!) { heartbeat(input: $input) { __typename } }"

# The server accepts numbers up to `base` + 63, `base` being the lowest one that it has not accepted yet.
WINDOW = 64
FAILURES_BEFORE_SAYING = 3
LONGEST_RETRY_AFTER_S = 60.0
# How long log() may wait for room in one outage, all its calls together: training goes on without its points rather
# than stand still. The outage is over when half of the queue is free again.
LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class Settings:
    """Tests turn these; nobody else needs to."""

    queue_points: int = 1_000_000
    batch_points: int = 10_000
    interval_s: float = 0.5
    forked_interval_s: float = 0.1
    """Of a forked child, whose end may come without a word."""
    longest_wait_s: float = LONGEST_WAIT_S
    heartbeat_s: float = 30.0
    first_backoff_s: float = 0.25
    longest_backoff_s: float = 10.0


@dataclass(frozen=True)
class Numbered:
    """A batch as it is sent, the first time and every other time."""

    number: int
    points: int
    body: bytes


@dataclass
class Counts:
    logged: int = 0
    delivered: int = 0
    refused: int = 0
    dropped: int = 0
    """Not queued, because the queue was full for too long; not among the logged ones."""
    waits: int = 0
    """How often log() waited for room in the queue."""
    waited_s: float = 0.0


class _OutOfTimeError(Exception):
    """The deadline of `close` has passed."""


class Sender:
    def __init__(self, client: Client, run_id: str, attempt: int, settings: Settings | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._attempt = attempt
        self._settings = settings or Settings()
        self._forked = False
        self._reset()

    def _reset(self) -> None:
        # Reentrant, because a signal handler that logs or finishes may run inside log() itself. Taken by itself and not
        # through the condition, whose __enter__ is Python: a Ctrl-C at the end of that would leave it taken for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self.writer = uuid.uuid4().hex
        self.counts = Counts()
        self.last_error: str | None = None
        self._queue = Queue(self._settings.batch_points)
        self._in_flight: Numbered | None = None
        self._next_number = 1
        self._holes: list[int] = []
        """Numbers that the server refused with and without their points: they hold up its window."""
        self._update: dict[str, Any] = {}
        self._apart: deque[dict[str, Any]] = deque()
        """Parts of a refused update, older than it."""
        self._update_not_before = 0.0
        self._update_failures = 0
        self._last_contact = time.monotonic()
        self._last_answer = time.monotonic()
        self._asked_at: float | None = None
        """When the request under way began."""
        self._problem: UnreachableError | ServerError | None = None
        """Why the last request failed; None after one that did not."""
        self._batch_sent_at = 0.0
        self._wait_left_s = self._settings.longest_wait_s
        self._dropping = 0
        """Points dropped in this outage."""
        self._closing = False
        self._deadline = 0.0
        self._drain_until = 0.0
        self._finish: dict[str, Any] | None = None
        self._finished = False
        self._done = False
        self._said: set[str] = set()

    def after_fork(self) -> None:
        """In a child process: a writer of its own, and none of the parent's points, locks or sockets."""
        self._client.after_fork()
        self._forked = True
        self._reset()

    # What training code calls

    def start(self) -> None:
        """Starts the thread; at the interpreter's end that can fail, and `close` then does the work itself."""
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._work, name="runtide-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return
            self._thread = thread

    @property
    def started(self) -> bool:
        return self._thread is not None

    def add(self, step: int, time_ms: int, values: Mapping[str, float]) -> None:
        """Queues points. Returns at once unless the queue is full: then it waits a while for room, or drops them."""
        with self._lock:
            if self._queue.points >= self._settings.queue_points and not self._wait_for_room():
                self._drop(len(values))
                return
            self._queue.add(step, time_ms, values)
            self.counts.logged += len(values)
            if self._forked or self._queue.has_full_batch:
                self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Whether there is room, now or within what is left of the time for waiting."""
        if self._closing or self._thread is None or self._wait_left_s <= 0:
            return False
        self._say_once(
            "full",
            f"{self._queue.points:,} points wait to be sent, as many as are kept: log() waits for room, up to "
            f"{self._settings.longest_wait_s:g} s in all ({self._state()})",
        )
        self.counts.waits += 1
        since = time.monotonic()
        self._changed.notify_all()
        room = self._changed.wait_for(
            lambda: self._closing or self._queue.points < self._settings.queue_points, self._wait_left_s
        )
        waited = time.monotonic() - since
        self._wait_left_s -= waited
        self.counts.waited_s += waited
        return room and self._queue.points < self._settings.queue_points

    def _drop(self, points: int) -> None:
        if not self._dropping:
            say(
                f"{self._queue.points:,} points wait to be sent, as many as are kept, and training goes on: points "
                f"that do not fit are dropped and counted until there is room ({self._state()})"
            )
        self._dropping += points
        self.counts.dropped += points

    def _end_outage(self) -> None:
        """Called with the lock: half of the queue is free."""
        self._wait_left_s = self._settings.longest_wait_s
        if self._dropping:
            say(f"there is room again; {self._dropping:,} points were dropped")
            self._dropping = 0

    def _state(self) -> str:
        """How the server does, no more than is known."""
        if isinstance(self._problem, ServerError):
            return f"the server answers {self._problem}"
        silent_s = time.monotonic() - self._last_answer
        at = time.strftime("%H:%M:%S", time.localtime(time.time() - silent_s))
        if self._problem is not None:
            return f"no answer since {at}; {self._problem}"
        if self._asked_at is not None and time.monotonic() - self._asked_at >= 1:
            return f"no answer since {at}"
        return f"the server's last answer was at {at}"

    def update(self, fields: Mapping[str, Any]) -> None:
        """Fields of `updateRun`; config and summary are merged key by key, here as on the server."""
        with self._lock:
            _merge(self._update, fields)

    def close(self, timeout_s: float, finish: Mapping[str, Any] | None) -> None:
        """Sends what is left, then `finish` (fields of `finishRun`), and returns after `timeout_s` at the latest."""
        with self._lock:
            if not self._closing:
                self._deadline = time.monotonic() + timeout_s
                self._finish = dict(finish) if finish is not None else None
                # The end of the time is kept for finishRun, so that a run that could not send all still ends.
                self._drain_until = self._deadline - (min(1.0, timeout_s / 5) if self._finish is not None else 0.0)
                # Last: a signal's handler that comes here meanwhile lets go of the lock, and the thread reads these.
                self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            # A handler that interrupts this must not begin it anew: the locks of the connection are not reentrant.
            self._thread = threading.current_thread()
            self._work()
        elif self._thread is not threading.current_thread():
            # A request that has just started when time is up may need a moment to notice. Waiting for the condition
            # lets go of the lock even where a signal's handler has interrupted the add() that holds it.
            with self._lock:
                done = self._changed.wait_for(lambda: self._done, timeout_s + 0.25)
            if done:
                self._thread.join(0.25)

    @property
    def undelivered(self) -> int:
        return self.counts.logged - self.counts.delivered - self.counts.refused

    @property
    def finished(self) -> bool:
        """Whether the server has acknowledged the run's end."""
        return self._finished

    # The thread

    def _work(self) -> None:
        while True:
            try:
                if not self._turn():
                    break
            except _OutOfTimeError:
                break
            except Exception as exc:  # a fault of ours must neither end the run nor spin
                self._say_once("fault", f"unexpected {type(exc).__name__} in the sender: {exc}; it goes on")
                self.last_error = repr(exc)
                if self._closing and time.monotonic() >= self._deadline:
                    break
                time.sleep(self._settings.interval_s)
        if self._finish is not None and not self._finished:
            self._send_finish()
        self._client.close()
        with self._lock:
            self._done = True
            self._changed.notify_all()

    def _turn(self) -> bool:
        """One batch, or one wait; False when nothing is left to do."""
        with self._lock:
            if self._forked:
                self._changed.wait_for(lambda: self._closing or self._queue.points > 0, self._settings.interval_s)
                since = time.monotonic() - self._batch_sent_at
                self._changed.wait_for(
                    lambda: self._closing or self._queue.has_full_batch, self._settings.forked_interval_s - since
                )
            else:
                self._changed.wait_for(lambda: self._closing or self._queue.has_full_batch, self._settings.interval_s)
        self._send_update()
        if self._in_flight is None:
            self._in_flight = self._take()
        if self._in_flight is not None:
            self._batch_sent_at = time.monotonic()
            self._send(self._in_flight)
            return True
        with self._lock:
            if self._closing:
                return self._queue.points > 0 or bool(self._update) or bool(self._apart)
        if time.monotonic() - self._last_contact >= self._settings.heartbeat_s:
            self._send_heartbeat()
        return True

    def _take(self) -> Numbered | None:
        with self._lock:
            batch = self._queue.take()
            if batch is None:
                return None
            if self._holes and self._next_number - self._holes[0] >= WINDOW:
                # Refused so often that the server would not even look: it has nothing to say that is new.
                self.counts.refused += batch.points
                batch = None
            else:
                number = self._next_number
                self._next_number += 1
            if self._queue.points <= self._settings.queue_points // 2:
                self._end_outage()
            self._changed.notify_all()
        if batch is None:
            self._fill_holes()
            return None
        return Numbered(number, batch.points, self._encode(number, batch))

    def _encode(self, number: int, batch: Batch | None) -> bytes:
        metrics = batch.to_input() if batch else []
        head = {"runId": self._run_id, "attempt": self._attempt, "writer": self.writer, "batch": number}
        return encode(LOG_METRICS, {"input": {**head, "metrics": metrics}})

    def _send(self, batch: Numbered) -> None:
        self._fill_holes()
        refusal = self._deliver(batch.body)
        self._in_flight = None
        if refusal is None:
            self.counts.delivered += batch.points
            return
        self.counts.refused += batch.points
        self._say_once(
            "refused",
            f"the server refused {batch.points:,} points, which are set aside ({refusal}); "
            "the run goes on, and the end says how many there were",
        )
        self._holes.append(batch.number)
        self._fill_holes()

    def _fill_holes(self) -> None:
        """A refused batch is followed by an empty one of its number, so that the window can move on."""
        while self._holes:
            if self._deliver(self._encode(self._holes[0], None)) is not None:
                return  # not the content but the run or the key is refused: tried again before the next batch
            self._holes.pop(0)

    def _deliver(self, body: bytes) -> ServerError | None:
        """Sends until the server acknowledges (None) or refuses for good; raises _OutOfTimeError at the deadline."""
        failures = 0
        while True:
            if self._closing and time.monotonic() >= self._drain_until:
                raise _OutOfTimeError
            try:
                self._post(body, self._drain_until)
            except (UnreachableError, ServerError) as exc:
                if isinstance(exc, ServerError) and not exc.temporary:
                    self.last_error = str(exc)
                    self._last_contact = time.monotonic()
                    return exc
                failures += 1
                self._note_failure(exc, failures)
                self._pause(failures, exc.retry_after)
            else:
                self._last_contact = time.monotonic()
                self._note_success()
                return None

    def _post(self, body: bytes, deadline: float) -> None:
        self._asked_at = time.monotonic()
        try:
            self._client.post(body, self._request_timeout(deadline))
        except UnreachableError as exc:
            self._problem = exc
            raise
        except ServerError as exc:
            self._problem = exc
            self._last_answer = time.monotonic()
            raise
        else:
            self._problem = None
            self._last_answer = time.monotonic()
        finally:
            self._asked_at = None

    def _request_timeout(self, deadline: float) -> float:
        if not self._closing:
            return READ_TIMEOUT_S
        return max(0.05, min(READ_TIMEOUT_S, deadline - time.monotonic()))

    def _pause(self, failures: int, retry_after: float | None) -> None:
        settings = self._settings
        delay = min(settings.longest_backoff_s, settings.first_backoff_s * 2 ** min(failures - 1, 30))
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 — spreads clients, guards nothing
        if retry_after is not None:
            delay = max(delay, min(retry_after, LONGEST_RETRY_AFTER_S))
        with self._lock:
            if self._closing:
                if retry_after is None:
                    delay = min(delay, 1.0)
                delay = min(delay, max(0.0, self._drain_until - time.monotonic()))
                self._changed.wait(delay)
            else:
                self._changed.wait_for(lambda: self._closing, delay)

    def _note_failure(self, exc: UnreachableError | ServerError, failures: int) -> None:
        self.last_error = str(exc)
        if isinstance(exc, ServerError) and exc.code == "UNAUTHENTICATED":
            self._say_once("key", f"the server no longer accepts the API key ({exc}); points are kept and tried again")
        elif failures >= FAILURES_BEFORE_SAYING:
            self._say_once("outage", f"{exc}; points are kept and sent when the server answers")

    def _note_success(self) -> None:
        if self._said & {"outage", "key"}:
            self._say_once("back", "the server answers again")

    def _send_update(self) -> None:
        """One try a turn: changes to the run must not hold up points."""
        with self._lock:
            if not self._closing and time.monotonic() < self._update_not_before:
                return
            apart = bool(self._apart)
            if apart:
                fields = self._apart.popleft()
            elif self._update:
                fields, self._update = self._update, {}
            else:
                return
        if self._closing and time.monotonic() >= self._drain_until:
            raise _OutOfTimeError
        try:
            body = encode(UPDATE_RUN, {"input": {"id": self._run_id, **fields}})
            self._post(body, self._drain_until)
        except (UnreachableError, ServerError) as exc:
            if isinstance(exc, ServerError) and not exc.temporary:
                parts = _parts(fields) if exc.code == "INVALID_INPUT" else []
                self._apart.extendleft(reversed(parts))
                if not parts:
                    what = ", ".join(_describe(field, value) for field, value in fields.items())
                    self._say_once(f"update {what}", f"the server refused a change of {what} ({exc})")
                return
            with self._lock:
                if apart:
                    self._apart.appendleft(fields)
                else:
                    later, self._update = self._update, fields
                    _merge(self._update, later)
            self._update_failures += 1
            self._note_failure(exc, self._update_failures)
            self._update_not_before = time.monotonic() + min(10.0, 0.5 * 2 ** min(self._update_failures, 10))
            if self._closing:
                self._pause(self._update_failures, exc.retry_after)
        else:
            self._update_failures = 0
            self._last_contact = time.monotonic()

    def _send_heartbeat(self) -> None:
        self._last_contact = time.monotonic()  # a failed heartbeat is followed by the next one, not by retries
        fields = {"runId": self._run_id, "attempt": self._attempt, "writer": self.writer}
        try:
            self._post(encode(HEARTBEAT, {"input": fields}), self._drain_until)
        except (UnreachableError, ServerError) as exc:
            self._note_failure(exc, 1)

    def _send_finish(self) -> None:
        fields = {"id": self._run_id, "attempt": self._attempt, **(self._finish or {})}
        body = encode(FINISH_RUN, {"input": fields})
        failures = 0
        while time.monotonic() < self._deadline:
            try:
                self._post(body, self._deadline)
            except (UnreachableError, ServerError) as exc:
                self.last_error = str(exc)
                if isinstance(exc, ServerError) and not exc.temporary:
                    return
                failures += 1
                pause = max(exc.retry_after or 0.0, min(1.0, 0.1 * 2**failures))
                time.sleep(max(0.0, min(pause, self._deadline - time.monotonic())))
            else:
                self._finished = True
                return

    def _say_once(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            say(message)


def _merge(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        if key in ("config", "summary") and key in into:
            into[key] = {**into[key], **value}
        else:
            into[key] = value


def _parts(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A refused update in smaller ones, so that only what is wrong is set aside; [] when it is one thing."""
    if len(fields) > 1:
        return [{field: value} for field, value in fields.items()]
    [(field, value)] = fields.items()
    if field not in ("config", "summary") or len(value) < 2:
        return []
    keys = list(value)
    halves = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
    return [{field: {key: value[key] for key in half}} for half in halves]


def _describe(field: str, value: Any) -> str:
    if field in ("config", "summary"):
        return ", ".join(f"{field}[{key!r}]" for key in value)
    return field
