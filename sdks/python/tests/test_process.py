"""What a whole process does to its run: each test is a script of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Wait
from tracker import Fault, Tracker

Script = Callable[..., "subprocess.Popen[str]"]

INIT = "import os, sys, time, runtide\nrun = runtide.init(project='process')\n"


@pytest.fixture
def script(online: Tracker, tmp_path: Path) -> Iterator[Script]:
    started: list[subprocess.Popen[str]] = []

    def start(body: str, **environment: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(INIT + body)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def ends(tracker: Tracker) -> list[tuple[str, int]]:
    return [(end["status"], end["exitCode"]) for end in tracker.finished]


def test_a_script_that_never_finishes_its_run_loses_nothing(online: Tracker, script: Script) -> None:
    code, err = end(script("for i in range(25_000): run.log({'x': i})"))
    assert (code, ends(online)) == (0, [("COMPLETED", 0)])
    assert online.values("x") == list(range(25_000))
    assert "25,000 points delivered" in err


def test_an_uncaught_exception_is_a_failure(online: Tracker, script: Script) -> None:
    code, err = end(script("run.log({'x': 1})\nraise ValueError('diverged')"))
    assert (code, ends(online)) == (1, [("FAILED", 1)])
    assert online.values("x") == [1]
    assert "ValueError: diverged" in err


def test_ctrl_c_cancels(online: Tracker, script: Script, wait_until: Wait) -> None:
    process = script("while True:\n    run.log({'x': 1})\n    time.sleep(0.01)")
    wait_until(lambda: online.values("x"))
    process.send_signal(signal.SIGINT)
    code, _ = end(process)
    assert code != 0
    assert ends(online) == [("CANCELED", 130)]


def test_a_caught_exception_is_none(online: Tracker, script: Script) -> None:
    body = "import threading\nthreading.excepthook = lambda args: None\n"
    body += "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()\nrun.log({'x': 1})"
    assert end(script(body))[0] == 0
    assert ends(online) == [("COMPLETED", 0)]


def test_an_exit_without_a_server_is_in_time_and_says_what_is_missing(online: Tracker, script: Script) -> None:
    online.faults = lambda operation, input: Fault(cut="before") if operation != "CreateRun" else None
    code, err = end(script("for i in range(1_234): run.log({'x': i})", RUNTIDE_EXIT_TIMEOUT="0.5"))
    assert code == 0
    assert "1,234 points were not delivered within 0.5 s" in err
    assert "the end of quiet-otter-1 was not delivered" in err


def test_a_closed_stderr_harms_nobody(online: Tracker, script: Script) -> None:
    code, _ = end(script("sys.stderr.close()\nrun.log({'x': 1})\nrun.finish()\nrun.log({'x': 2})"))
    assert code == 0
    assert online.values("x") == [1]


FORK = """
for i in range(1_000): run.log({'parent': i})
pid = os.fork()
if pid == 0:
    for i in range(1_000): run.log({'child': i}, step=i)
    sys.exit(0)
run.log({'parent': 1_000})
assert os.waitpid(pid, 0)[1] == 0
run.log({'parent': 1_001})
"""

IDLE_FORK = """
for i in range(1_000): run.log({'parent': i})
pid = os.fork()
if pid == 0:
    run.finish()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""

WORKERS = """
import multiprocessing
def work(name):
    for i in range(1_000): run.log({name: i}, step=i)
context = multiprocessing.get_context('fork')
workers = [context.Process(target=work, args=(f'worker{n}',)) for n in range(3)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert [worker.exitcode for worker in workers] == [0, 0, 0]
"""


def test_a_forked_child_is_a_writer_of_its_own(online: Tracker, script: Script) -> None:
    code, err = end(script(FORK))
    assert code == 0, err
    assert online.values("parent") == list(range(1_002))
    assert online.values("child") == list(range(1_000))
    assert len({writer for writer, _ in online.applied}) == 2
    assert ends(online) == [("COMPLETED", 0)], "the process that began the run ends it"


def test_a_forked_child_that_logs_nothing_sends_nothing(online: Tracker, script: Script) -> None:
    code, err = end(script(IDLE_FORK))
    assert code == 0, err
    assert online.values("parent") == list(range(1_000))
    assert ends(online) == [("COMPLETED", 0)]


def test_workers_of_multiprocessing_flush_before_they_leave(online: Tracker, script: Script) -> None:
    code, err = end(script(WORKERS))
    assert code == 0, err
    for worker in range(3):
        assert online.values(f"worker{worker}") == list(range(1_000))
    assert len({writer for writer, _ in online.applied}) == 3
    assert ends(online) == [("COMPLETED", 0)]
