# A run as training code sees it: `init` makes it, `log` feeds it, `finish` ends it. The only part that talks to the
# server on the caller's thread is `init`, which raises; everything after it warns and goes on.
from __future__ import annotations

import math
import os
import platform
import shlex
import socket
import sys
import threading
import time as clock
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from . import _process
from ._client import Client
from ._credentials import ApiKey, api_key, base_url
from ._exceptions import ConfigurationError, ServerError, UnreachableError
from ._say import say
from ._sender import Sender, Settings
from ._values import (
    check_label,
    check_notes,
    check_size,
    check_step,
    check_tags,
    flatten,
    json_sizes,
    milliseconds,
    wire_config,
)
from ._version import __version__

CREATE_RUN = (
    "mutation CreateRun($input: CreateRunInput!) { createRun(input: $input) "
    "{ run { id name tags notes config summary project { name workspace { slug } } } attempt } }"
)
LAST_STEPS = (
    "query LastSteps($id: ID!, $after: String) { run(id: $id) { metrics(first: 100, after: $after) "
    "{ nodes { lastStep } pageInfo { hasNextPage endCursor } } } }"
)
INIT_TIMEOUT_S = 6.0
EXIT_TIMEOUT_S = 10.0
RESUME = {"never": "NEVER", "allow": "ALLOW", "must": "MUST"}


class Values(Mapping[str, Any]):
    """`run.config` or `run.summary`: reads like a dict; what is set is also sent, merged key by key."""

    __slots__ = ("_data", "_field", "_sender", "_sizes")

    def __init__(self, field: str, data: dict[str, Any], sender: Sender | None) -> None:
        self._field = field
        self._data = data
        self._sender = sender
        self._sizes = json_sizes(wire_config(data))

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data.copy())

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self._data)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        changed = {**(values or {}), **more}
        wire = wire_config(changed)
        sizes = {**self._sizes, **json_sizes(wire)}
        check_size(self._field, sizes)
        self._sizes = sizes
        self._data.update(changed)
        if self._sender is not None and wire:
            self._sender.update({self._field: wire})

    def _seen(self, values: Mapping[str, float]) -> None:
        """Last values of metrics: the server has them from the points."""
        self._data.update(values)


class Run:
    """One execution of training code. Made by `runtide.init`."""

    def __init__(
        self,
        *,
        id: str,
        name: str,
        project: str | None,
        entity: str | None,
        attempt: int,
        url: str | None,
        config: Mapping[str, Any],
        tags: Sequence[str],
        notes: str | None,
        sender: Sender | None,
        summary: Mapping[str, Any] | None = None,
        first_step: int = 0,
    ) -> None:
        self.id = id
        self.project = project
        self.entity = entity
        self.attempt = attempt
        self.url = url
        """The run's page; None when disabled."""
        self._name = name
        self._tags = tuple(tags)
        self._notes = notes
        self._sender = sender
        self._next_step = first_step
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._ended = False
        self._finish: dict[str, Any] | None = None
        """How the run ends, once it does; None in a forked child, which does not end it."""
        self._said_ended = False
        self.config = Values("config", dict(config), sender)
        self.summary = Values("summary", dict(summary or {}), sender)

    def __repr__(self) -> str:
        return f"<Run {self._name!r} {self.url or 'disabled'}>"

    @property
    def step(self) -> int:
        """The step that the next log() without a step gets."""
        return self._next_step

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = check_label("name", name)
        self._update({"name": name})

    @property
    def tags(self) -> tuple[str, ...]:
        return self._tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._tags = tuple(check_tags(tags))
        self._update({"tags": list(self._tags)})

    @property
    def notes(self) -> str | None:
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._notes = check_notes(notes)
        self._update({"notes": notes})

    def log(self, values: Mapping[str, Any], step: int | None = None, time: float | datetime | None = None) -> None:
        """Logs numbers by name, and returns at once (unless a million points wait: see the README).

        Nested dicts are flattened with `/`. `step` is one more than the last one logged where it is left out, `time`
        (seconds since the Unix epoch, or a datetime) is now. A wrong name or type raises; the network never does.
        """
        flat = flatten(values)
        exact_step = None if step is None else check_step(step)
        time_ms = milliseconds(clock.time() if time is None else time)
        if self._ended:
            if not self._said_ended:
                self._said_ended = True
                say(f"log() after the end of {self._name} is ignored")
            return
        if not flat:
            return
        with self._lock:
            if exact_step is None:
                exact_step = check_step(self._next_step)
            self._next_step = exact_step + 1
            self.summary._seen(flat)
        if self._sender is not None:
            if not self._sender.started:  # the first log() of a forked child
                self._sender.start()
                _process.flush_at_worker_exit()
            self._sender.add(exact_step, time_ms, flat)

    def finish(self, exit_code: int = 0) -> None:
        """Sends what is left and ends the run: COMPLETED, or FAILED with an exit code. Does nothing the second time."""
        self._end("COMPLETED" if exit_code == 0 else "FAILED", exit_code)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(*_process.status_of(exc))

    def _update(self, fields: Mapping[str, Any]) -> None:
        if self._sender is not None and not self._ended:
            self._sender.update(fields)

    def _end(self, status: str, exit_code: int, timeout_s: float | None = None) -> None:
        with self._lock:
            if self._ended:
                return
            # A signal's handler may come between any two of these lines, and ends the run or waits for its end.
            self._finish = {"status": status, "exitCode": exit_code} if os.getpid() == self._owner else None
            _process.leaving(self)
            self._ended = True
        _process.closed(self)
        try:
            self._send_rest(exit_timeout() if timeout_s is None else timeout_s)
        finally:
            _process.left(self)

    def _send_rest(self, timeout_s: float) -> None:
        sender = self._sender
        # A forked child sends its own points; the run ends with the process that began it.
        if sender is None or not (self._finish or sender.started):
            return
        try:
            sender.close(timeout_s, self._finish)
        finally:
            self._report(sender, timeout_s)

    def _wait_for_end(self, timeout_s: float) -> None:
        """For a signal's handler that has interrupted the end."""
        if self._sender is not None:
            self._sender.close(timeout_s, self._finish)

    def _report(self, sender: Sender, timeout_s: float) -> None:
        counts = sender.counts
        if counts.waits:
            say(f"log() waited {counts.waits:,} times for room in the queue, {counts.waited_s:.1f} s in all")
        if counts.dropped:
            say(f"{counts.dropped:,} points were dropped in all, because the queue was full")
        if counts.refused:
            say(f"the server refused {counts.refused:,} points in all ({sender.last_error})")
        if sender.undelivered:
            say(
                f"{sender.undelivered:,} points were not delivered within {timeout_s:g} s "
                f"(RUNTIDE_EXIT_TIMEOUT); {sender.last_error or 'the server was too slow'}"
            )
        if self._finish is None:
            return
        if sender.finished:
            say(f"{self._name} {self._finish['status']}, {counts.delivered:,} points delivered: {self.url}")
        else:
            say(f"the end of {self._name} was not delivered; {sender.last_error or 'the server was too slow'}")

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._sender is not None:
            self._sender.after_fork()


def init(
    project: str | None = None,
    *,
    name: str | None = None,
    config: Any = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    id: str | None = None,
    resume: str | bool | None = None,
    dir: str | os.PathLike[str] | None = None,  # noqa: ARG001
    entity: str | None = None,
    mode: str | None = None,
) -> Run:
    """Begins a run, prints its link and returns it.

    `entity` is the workspace's slug, `id` your own id of the run, unique in the project, `resume` what happens when a
    run has it already: "never", "allow" or "must". `config` is a dict, an argparse.Namespace or a dataclass. `mode`
    "disabled" checks what is logged and sends nothing. `dir` is accepted and has nothing to hold yet.

    Raises ConfigurationError, UnreachableError or ServerError when the run cannot begin.
    """
    mode = mode or os.environ.get("RUNTIDE_MODE", "").strip() or "online"
    if mode not in ("online", "disabled"):
        raise ConfigurationError(f'mode (or RUNTIDE_MODE) is "online" or "disabled", not {mode!r}')
    project = project or os.environ.get("RUNTIDE_PROJECT", "").strip() or None
    fields = _input(project, name, config, tags, notes, group, job_type, id, resume, entity)
    # What was given is what is read back; the server gets its JSON form.
    local_config = dict(config) if isinstance(config, Mapping) else fields["config"]
    if mode == "disabled":
        return _open(
            Run(
                id=str(uuid.uuid4()),
                name=name or "disabled",
                project=project,
                entity=entity,
                attempt=1,
                url=None,
                config=local_config,
                tags=fields.get("tags", []),
                notes=notes,
                sender=None,
            )
        )
    exit_timeout()  # a mistake in it is said now, and not at the end
    url = base_url()
    key = api_key(url)
    client = Client(url, key.secret)
    try:
        run = _begin(client, key, fields, local_config)
    except BaseException:
        client.close()
        raise
    say(f"{'resumed' if run.attempt > 1 else 'run'} {run.name} in {run.project}: {run.url}")
    return _open(run)


def _begin(client: Client, key: ApiKey, fields: Mapping[str, Any], config: Mapping[str, Any]) -> Run:
    created = _create(client, key, fields)
    try:
        run_id, attempt = str(created["run"]["id"]), int(created["attempt"])
        stored, project = created["run"], created["run"]["project"]
        name, tags, notes = str(stored["name"]), list(stored["tags"]), str(stored["notes"]) or None
        stored_config, summary = dict(stored["config"]), dict(stored["summary"])
        project_name, workspace = str(project["name"]), str(project["workspace"]["slug"])
    except (KeyError, TypeError, ValueError) as exc:
        raise UnreachableError(f"{client.base_url} answers, but not as this version of Runtide does") from exc
    sender = Sender(client, run_id, attempt, Settings())
    if attempt > 1:
        # The server leaves a resumed run as it was: what was given here is a change, and config is merged by key.
        changes = {field: fields[field] for field in ("name", "tags", "notes", "group", "jobType") if field in fields}
        if fields["config"]:
            changes["config"] = fields["config"]
        sender.update(changes)
        name, tags, notes = fields.get("name", name), fields.get("tags", tags), fields.get("notes", notes)
        config = {**stored_config, **config}
    run = Run(
        id=run_id,
        name=name,
        project=project_name,
        entity=workspace,
        attempt=attempt,
        url=f"{client.base_url}/app/runs/{run_id}",
        config=config,
        tags=tags,
        notes=notes,
        sender=sender,
        summary=summary,
        first_step=_first_step(client, run_id) if attempt > 1 else 0,
    )
    sender.start()
    return run


def _open(run: Run) -> Run:
    _process.opened(run)
    return run


def _input(
    project: str | None,
    name: str | None,
    config: Any,
    tags: Sequence[str] | None,
    notes: str | None,
    group: str | None,
    job_type: str | None,
    key: str | None,
    resume: str | bool | None,
    workspace: str | None,
) -> dict[str, Any]:
    """CreateRunInput without its request id; raises TypeError, ValueError or ConfigurationError."""
    if resume is True:
        resume = "allow"
    if resume and (not isinstance(resume, str) or resume.lower() not in RESUME):
        raise ConfigurationError(f'resume is "never", "allow" or "must", not {resume!r}')
    if isinstance(resume, str) and resume.lower() == "must" and not key:
        raise ConfigurationError('resume="must" needs the id of the run to resume')
    fields: dict[str, Any] = {
        "workspace": workspace,
        "project": project,
        "name": name,
        "key": key,
        "notes": notes,
        "group": group,
        "jobType": job_type,
    }
    fields = {
        field: check_notes(value) if field == "notes" else check_label(field, value)
        for field, value in fields.items()
        if value is not None
    }
    if isinstance(resume, str) and resume:
        fields["resume"] = RESUME[resume.lower()]
    if tags is not None:
        fields["tags"] = check_tags(tags)
    fields["config"] = wire_config(config)
    check_size("config", json_sizes(fields["config"]))
    fields["environment"] = wire_config(environment())
    return fields


def _create(client: Client, key: ApiKey, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Tries for a few seconds with one request id, so that however often it is heard there is one run."""
    request = {"input": {"requestId": str(uuid.uuid4()), **fields}}
    deadline = clock.monotonic() + INIT_TIMEOUT_S
    failures = 0
    while True:
        remaining = deadline - clock.monotonic()
        try:
            created = client.execute(CREATE_RUN, request, max(1.0, remaining)).get("createRun")
            return created if isinstance(created, dict) else {}
        except ServerError as exc:
            if exc.code == "UNAUTHENTICATED":
                raise ServerError(
                    f"{client.base_url} does not accept the API key from {key.source}: "
                    "make a new one, or set RUNTIDE_API_KEY",
                    code=exc.code,
                ) from exc
            if not exc.temporary:
                raise
            error: ServerError | UnreachableError = exc
        except UnreachableError as exc:
            error = exc
        failures += 1
        pause = max(error.retry_after or 0.0, min(1.0, 0.1 * 2**failures))
        if clock.monotonic() + pause >= deadline:
            if isinstance(error, ServerError):
                raise error
            raise UnreachableError(
                f"{error}. Is the server running there? Start it with `npm start`, or set RUNTIDE_BASE_URL to its "
                'address; mode="disabled" (RUNTIDE_MODE) trains without it'
            ) from error
        clock.sleep(pause)


def _first_step(client: Client, run_id: str) -> int:
    """One past everything that earlier attempts logged: a new attempt's line replaces theirs from its first step on."""
    first, after = 0, None
    try:
        while True:
            metrics = client.execute(LAST_STEPS, {"id": run_id, "after": after})["run"]["metrics"]
            steps = [node["lastStep"] for node in metrics["nodes"] if node["lastStep"] is not None]
            first = max([first, *(int(step) + 1 for step in steps)])
            if not metrics["pageInfo"]["hasNextPage"]:
                return first
            after = metrics["pageInfo"]["endCursor"]
    except (ServerError, UnreachableError, KeyError, TypeError, ValueError) as exc:
        say(f"the last step of the resumed run is not known ({exc}): give log() a step")
        return first


def environment() -> dict[str, Any]:
    """What the run ran on; nothing of the environment's variables, which hold secrets."""
    return {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "command": shlex.join([sys.executable or "python", *getattr(sys, "argv", [])]),
        "directory": _directory(),
        "pid": os.getpid(),
        "cpuCount": os.cpu_count(),
        "sdk": f"runtide-python {__version__}",
    }


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed under us
        return None


def exit_timeout() -> float:
    """Seconds that the end of a run may take."""
    value = os.environ.get("RUNTIDE_EXIT_TIMEOUT", "").strip()
    if not value:
        return EXIT_TIMEOUT_S
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (0 <= seconds <= 86_400):
        raise ConfigurationError(f"RUNTIDE_EXIT_TIMEOUT is a number of seconds from 0 to 86400, not {value!r}")
    return seconds
