"""What a whole process does to its run: each test is a script of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtide

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
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # Whatever it forked holds its pipes as well.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def says(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "it says nothing"
    assert process.stdout.readline() == f"{line}\n"


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


CAUGHT_EXITS = {
    "in a function": "def f():\n    try: sys.exit(3)\n    except SystemExit: pass\nf()",
    "at the top": "try: sys.exit(3)\nexcept SystemExit: pass",
    "suppressed": "import contextlib\nwith contextlib.suppress(SystemExit): sys.exit(3)",
    "in a thread": "import threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()",
}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit('no data')", 1),
        ("sys.exit(True)", 1),
        ("import argparse\nargparse.ArgumentParser().error('wrong')", 2),
        ("try: sys.exit(3)\nfinally: run.log({'x': 2})", 3),
        ("def f():\n    try: sys.exit(3)\n    except SystemExit: raise\nf()", 3),
        ("try: sys.exit(3)\nexcept SystemExit: pass\nsys.exit(4)", 4),
        ("try: sys.exit(3)\nexcept SystemExit: pass\nraise ValueError", 1),
    ],
)
def test_sys_exit_is_a_failure(online: Tracker, script: Script, body: str, code: int) -> None:
    returned, err = end(script(f"run.log({{'x': 1}})\n{body}"))
    assert returned == code, err
    assert ends(online) == [("FAILED", code)]
    assert online.values("x")[0] == 1


@pytest.mark.parametrize("body", ["sys.exit()", "sys.exit(0)", "sys.exit(None)", *CAUGHT_EXITS.values()])
def test_an_exit_of_zero_or_one_that_is_caught_is_none(online: Tracker, script: Script, body: str) -> None:
    returned, err = end(script(body))
    assert returned == 0, err
    assert ends(online) == [("COMPLETED", 0)]


def test_sys_exit_is_as_it_was_once_no_run_is_open(online: Tracker) -> None:
    original = sys.exit
    with runtide.init(), runtide.init():
        assert sys.exit is not original
    assert sys.exit is original


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


# What a pool does at its end is SIGTERM, and the end of `with` does not wait for the workers.
POOL = """
import multiprocessing
def work(i):
    run.log({'x': i, f'worker{os.getpid()}': i}, step=i)
    return i
context = multiprocessing.get_context('fork')
with context.Pool(3) as pool:
    assert pool.map(work, range(300), chunksize=10) == list(range(300))
"""

OPEN_POOL = POOL.replace("with context.Pool(3) as pool:", "pool = context.Pool(3)\nif True:")

OWN_RUN = """
import multiprocessing
def work():
    own = runtide.init(project='process', name='own')
    own.log({'x': 1})
    WAY_OUT
worker = multiprocessing.get_context('fork').Process(target=work)
worker.start()
worker.join()
"""

TERMINATED = """
import signal
pid = os.fork()
if pid == 0:
    for i in range(COUNT): run.log({'child': i}, step=i)
    print('logged', flush=True)
    while True: time.sleep(60)
sys.stdout.flush()
assert os.waitpid(pid, 0)[1] == signal.SIGTERM
"""

# A signal that another thread takes leaves the main thread where it is, as one does that comes just before a system
# call begins. Nobody gets the interpreter's lock before the main thread lets go of it, which is when the call begins.
UNNOTICED = """
import signal, threading
pid = os.fork()
if pid == 0:
    sys.setswitchinterval(60)
    run.log({'child': 1})
    held = threading.Lock()
    held.acquire()
    def take():
        held.acquire()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Thread(target=take, daemon=True).start()
    held.release()
    os.read(os.pipe()[0], 1)
assert os.waitpid(pid, 0)[1] == signal.SIGTERM
"""

GRANDCHILD = """
import signal
pid = os.fork()
if pid == 0:
    run.log({'x': 1})
    inner = os.fork()
    if inner == 0:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1
        run.log({'x': 2})
        os.kill(os.getpid(), signal.SIGTERM)
    assert os.waitpid(inner, 0)[1] == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
assert os.waitpid(pid, 0)[1] == signal.SIGTERM
"""

# One child for each line of ours that its end runs through: that is where it gets the signal.
AT_EVERY_LINE = """
import signal
ours = os.path.dirname(runtide.__file__)
def interrupt(at):
    line = 0
    def trace(frame, event, arg):
        nonlocal line
        if not frame.f_code.co_filename.startswith(ours): return None
        if event == 'line':
            if line == at: os.kill(os.getpid(), signal.SIGTERM)
            line += 1
        return trace
    return trace
at = 0
while True:
    pid = os.fork()
    if pid == 0:
        run.log({'child': at})
        sys.settrace(interrupt(at))
        run.finish()
        sys.settrace(None)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if status == 0: break
    assert status == signal.SIGTERM
    at += 1
print(at, flush=True)
"""


@pytest.mark.parametrize("body", [POOL, OPEN_POOL])
def test_workers_of_a_pool_lose_nothing_when_they_are_terminated(online: Tracker, script: Script, body: str) -> None:
    code, err = end(script(body))
    assert code == 0, err
    assert sorted(online.values("x")) == list(range(300)), err
    assert ends(online) == [("COMPLETED", 0)]


def test_a_forked_child_sends_before_its_end(online: Tracker, script: Script, wait_until: Wait) -> None:
    script("if os.fork() == 0: run.log({'x': 1})\ntime.sleep(60)")
    wait_until(lambda: online.values("x") == [1])


def test_sigterm_flushes_a_forked_child_and_ends_it(online: Tracker, script: Script, wait_until: Wait) -> None:
    held = [True]
    online.faults = lambda operation, input: Fault(code="UNAVAILABLE") if operation == "LogMetrics" and held else None
    process = script(TERMINATED.replace("COUNT", "5_000"))
    says(process, "logged")
    wait_until(lambda: online.operations("LogMetrics"))
    [child] = children(process.pid)
    held.clear()
    os.kill(child, signal.SIGTERM)
    code, err = end(process)
    assert code == 0, err
    assert online.values("child") == list(range(5_000))


def test_sigterm_in_the_midst_of_log_harms_nothing(online: Tracker, script: Script, wait_until: Wait) -> None:
    process = script(TERMINATED.replace("COUNT", "10**9"))
    wait_until(lambda: online.values("child"))
    [child] = children(process.pid)
    since = time.monotonic()
    os.kill(child, signal.SIGTERM)
    code, err = end(process)
    assert code == 0, err
    assert time.monotonic() - since < 10
    values = online.values("child")
    assert values == list(range(len(values)))


def test_sigterm_just_before_a_system_call_is_noticed(online: Tracker, script: Script) -> None:
    code, err = end(script(UNNOTICED))
    assert code == 0, err
    assert online.values("child") == [1]


def test_sigterm_at_any_line_of_the_end_loses_nothing(online: Tracker, script: Script) -> None:
    process = script(AT_EVERY_LINE)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = int(out)
    assert lines > 20
    assert online.values("child") == list(range(lines + 1))


def test_a_child_of_a_worker_has_the_signals_to_itself(online: Tracker, script: Script) -> None:
    code, err = end(script(GRANDCHILD))
    assert code == 0, err
    assert sorted(online.values("x")) == [1, 2]


def test_a_handler_of_ones_own_for_sigterm_is_kept(online: Tracker, script: Script) -> None:
    body = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(7))\npid = os.fork()\n"
    body += "if pid == 0:\n    run.log({'x': 1})\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(9)\n"
    body += "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7"
    code, err = end(script(body))
    assert code == 0, err


@pytest.mark.parametrize(
    ("way_out", "ending"),
    [("pass", ("COMPLETED", 0)), ("sys.exit(4)", ("FAILED", 4)), ("raise ValueError", ("FAILED", 1))],
)
def test_a_run_that_a_worker_began_ends_with_it(
    online: Tracker, script: Script, way_out: str, ending: tuple[str, int]
) -> None:
    if sys.version_info >= (3, 13):
        ending = ("COMPLETED", 0)  # there the exception is forgotten before anybody is called; `with` sees it
    code, err = end(script(OWN_RUN.replace("WAY_OUT", way_out)))
    assert code == 0, err
    assert online.values("x") == [1]
    assert sorted(ends(online)) == sorted([ending, ("COMPLETED", 0)])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
