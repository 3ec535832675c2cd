"""A server that speaks the client's part of the protocol, keeps what it accepts, and fails on demand.

It accepts batches by the rule of the real one: a number counts once for a writer, up to 63 past the lowest number that
is missing. Faults are a function from the request to what goes wrong with it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

KEY = "rt_test"


@dataclass
class Fault:
    """`cut`: "before" or "after" the request is applied, or "inside" the answer; `code`: a GraphQL error."""

    cut: str | None = None
    status: int | None = None
    code: str | None = None
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    """An answer that is not GraphQL's."""


FaultPlan = Callable[[str, dict[str, Any]], Fault | None]
"""From an operation's name and input."""


@dataclass
class Writer:
    base: int = 1
    ahead: set[int] = field(default_factory=set)


class Tracker:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.faults: FaultPlan = lambda operation, input: None
        self.requests: list[tuple[str, dict[str, Any], float]] = []
        """Operation, input and time of arrival of all that came, whatever became of it."""
        self.runs: dict[str, dict[str, Any]] = {}
        self.by_request: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.writers: dict[tuple[str, str], Writer] = defaultdict(Writer)
        self.applied: list[tuple[str, int]] = []
        """(writer, batch) in the order of acceptance."""
        self.points: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
        self.updates: list[dict[str, Any]] = []
        self.finished: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.last_steps: list[int | None] = []
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def operations(self, name: str) -> list[dict[str, Any]]:
        with self.lock:
            return [input for operation, input, _ in self.requests if operation == name]

    def values(self, name: str) -> list[float]:
        return [value for _, _, value in self.points[name]]

    def answer(self, operation: str, input: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            handler = getattr(self, f"_{operation}")
            result: dict[str, Any] = handler(input)
            return result

    def _CreateRun(self, input: dict[str, Any]) -> dict[str, Any]:
        known = self.by_request.get(input["requestId"])
        if known is None:
            same_key = [id for id, run in self.runs.items() if input.get("key") and run.get("key") == input["key"]]
            known = same_key[0] if same_key else str(uuid.uuid4())
            self.by_request[input["requestId"]] = known
            self.runs.setdefault(known, input)
            self.attempts[known] = self.attempts.get(known, 0) + 1
        project = {"name": input.get("project", "uncategorized"), "workspace": {"slug": "personal"}}
        first = self.runs[known]
        run = {
            "id": known,
            "name": first.get("name", "quiet-otter-1"),
            "tags": first.get("tags", []),
            "notes": first.get("notes", ""),
            "config": first.get("config", {}),
            "summary": self.summary,
            "project": project,
        }
        return {"createRun": {"run": run, "attempt": self.attempts[known]}}

    def _LogMetrics(self, input: dict[str, Any]) -> dict[str, Any]:
        if input["runId"] not in self.runs:
            raise Refused("NOT_FOUND", "no such run")
        writer, batch = self.writers[input["runId"], input["writer"]], input["batch"]
        if batch >= writer.base + 64:
            raise Refused("CONFLICT", f"the window ends at {writer.base + 63}", base=writer.base)
        duplicate = batch < writer.base or batch in writer.ahead
        accepted = 0
        if not duplicate:
            self.applied.append((input["writer"], batch))
            writer.ahead.add(batch)
            while writer.base in writer.ahead:
                writer.ahead.remove(writer.base)
                writer.base += 1
            for metric in input["metrics"]:
                columns = (metric["steps"], metric["times"], [float(value) for value in metric["values"]])
                assert metric["tag"] == ""
                assert len({len(column) for column in columns}) == 1
                self.points[metric["name"]].extend(zip(*columns, strict=True))
                accepted += len(metric["steps"])
        cursor = str(len(self.applied))
        return {"logMetrics": {"accepted": accepted, "duplicate": duplicate, "cursor": cursor}}

    def _UpdateRun(self, input: dict[str, Any]) -> dict[str, Any]:
        self.updates.append(input)
        return {"updateRun": {"run": {"id": input["id"]}}}

    def _FinishRun(self, input: dict[str, Any]) -> dict[str, Any]:
        self.finished.append(input)
        return {"finishRun": {"run": {"id": input["id"], "status": input["status"]}}}

    def _Heartbeat(self, input: dict[str, Any]) -> dict[str, Any]:
        self.heartbeats.append(input)
        return {"heartbeat": {"__typename": "HeartbeatPayload"}}

    def _LastSteps(self, variables: dict[str, Any]) -> dict[str, Any]:
        nodes = [{"lastStep": step} for step in self.last_steps]
        return {"run": {"metrics": {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}}}


class Refused(Exception):  # noqa: N818
    def __init__(self, code: str, message: str, **extensions: Any) -> None:
        super().__init__(message)
        self.extensions = {"code": code, **extensions}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are the point of it; anything that matters shows in what was applied."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True
    timeout: ClassVar[float] = 30.0

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        tracker = self.server.tracker
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body, parse_constant=_no_bare_nan)
        operation = request["query"].split("(")[0].split()[1]
        input = request["variables"].get("input", request["variables"])
        with tracker.lock:
            tracker.requests.append((operation, input, time.monotonic()))
        fault = tracker.faults(operation, input) or Fault()
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.cut == "before":
            return self._cut()
        if fault.text is not None:
            return self._send(fault.status or 200, fault.text.encode(), fault.headers)
        if fault.code is not None or fault.status is not None:
            error = {"message": "as planned", "extensions": {"code": fault.code or "INTERNAL", **fault.extensions}}
            return self._send(fault.status or 200, json.dumps({"errors": [error]}).encode(), fault.headers)
        if self.headers["authorization"] != f"Bearer {KEY}":
            error = {"message": "unknown key", "extensions": {"code": "UNAUTHENTICATED"}}
            return self._send(401, json.dumps({"errors": [error]}).encode(), {})
        try:
            answer: dict[str, Any] = {"data": tracker.answer(operation, input)}
        except Refused as exc:
            answer = {"errors": [{"message": str(exc), "extensions": exc.extensions}]}
        if fault.cut == "after":
            return self._cut()
        return self._send(200, json.dumps(answer).encode(), {}, inside=fault.cut == "inside")

    def _send(self, status: int, body: bytes, headers: dict[str, str], inside: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if inside else body)
        if inside:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _no_bare_nan(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
