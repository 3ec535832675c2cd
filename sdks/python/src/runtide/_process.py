# What the process does to its runs: its end, an uncaught exception, a fork. One hook of each kind for all runs.
from __future__ import annotations

import atexit
import contextlib
import dis
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ._run import Run

_runs: list[Run] = []
"""Not finished yet, the newest last."""
_leaving: list[Run] = []
"""Sending what is left, at this moment."""

SIGTERM_TIMEOUT_S = 2.0
WAKE_AGAIN_S = 0.05

_installed = False
_terminating = False
"""Our handler for SIGTERM has begun."""
_wakeup: tuple[int, int] | None = None
"""The pipe, to read and to write, in which the interpreter notes the number of each signal as it arrives."""
_ending: tuple[str, int] | None = None
"""What an uncaught exception made of the process."""
_exit: SystemExit | None = None
"""What the last sys.exit() of the main thread raised; whether somebody caught it is seen at the end."""
_exits: tuple[Callable[..., NoReturn], Callable[..., NoReturn]] | None = None
"""While a run is open: sys.exit as it was, and as it is."""


def current() -> Run | None:
    return _runs[-1] if _runs else None


def opened(run: Run) -> None:
    _install()
    if not _runs:
        _watch_exit()
    _runs.append(run)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        flush_at_worker_exit()


def leaving(run: Run) -> None:
    _leaving.append(run)


def closed(run: Run) -> None:
    with contextlib.suppress(ValueError):
        _runs.remove(run)
    if not _runs:
        _unwatch_exit()


def left(run: Run) -> None:
    with contextlib.suppress(ValueError):
        _leaving.remove(run)


def status_of(exc: BaseException | type[BaseException] | None) -> tuple[str, int]:
    """The run's status and exit code when this ends it."""
    kind = exc if isinstance(exc, type) else type(exc)
    if exc is None:
        return ("COMPLETED", 0)
    if issubclass(kind, KeyboardInterrupt):
        return ("CANCELED", 130)
    if isinstance(exc, SystemExit):
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        return ("COMPLETED" if code == 0 else "FAILED", code)
    return ("FAILED", 1)


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    previous = sys.excepthook

    def hook(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        global _ending
        # At a prompt an exception ends a line and not the process.
        if not hasattr(sys, "ps1") and threading.current_thread() is threading.main_thread():
            _ending = status_of(exc)
        previous(kind, exc, traceback)

    sys.excepthook = hook


def _watch_exit() -> None:
    """Python tells nobody of a SystemExit, not even sys.excepthook: what sys.exit() raises is remembered here."""
    global _exit, _exits
    _exit = None
    original = sys.exit

    def watched(status: Any = None, /) -> NoReturn:
        global _exit
        try:
            original(status)
        except SystemExit as exc:
            if threading.current_thread() is threading.main_thread():
                _exit = exc
            raise

    _exits = (original, watched)
    sys.exit = watched


def _unwatch_exit() -> None:
    global _exits
    if _exits is not None and sys.exit is _exits[1]:  # else somebody wrapped it after us
        sys.exit = _exits[0]
    _exits = None


def _at_exit() -> None:
    ending = _ending
    if ending is None:
        # Until Python 3.12, a worker of multiprocessing comes here while what ends it is on its way.
        exc = sys.exc_info()[1] or (_exit if _exit is not None and _uncaught(_exit) else None)
        ending = status_of(exc)
    for run in reversed(_runs.copy()):
        with contextlib.suppress(Exception, KeyboardInterrupt):
            run._end(*ending)


def _uncaught(exc: BaseException) -> bool:
    """At the process's end: a frame that catches an exception goes on and returns; the others were unwound."""
    if exc.__traceback__ is None:
        return True
    frame = exc.__traceback__.tb_frame
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]] if frame.f_lasti >= 0 else ""
    return not operation.startswith("RETURN")


def _on_sigterm(signum: int, _: FrameType | None) -> None:
    global _terminating
    if _terminating:
        return
    _terminating = True
    deadline = time.monotonic() + SIGTERM_TIMEOUT_S
    for run in reversed(_runs.copy()):
        with contextlib.suppress(Exception, KeyboardInterrupt):
            run._end("FAILED", 128 + signum, max(0.0, deadline - time.monotonic()))
    for run in _leaving.copy():  # the worker was about to leave of itself
        with contextlib.suppress(Exception, KeyboardInterrupt):
            run._wait_for_end(max(0.0, deadline - time.monotonic()))
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _after_fork() -> None:
    global _terminating
    _leaving.clear()
    _terminating = False
    for run in _runs:
        run._after_fork()
    _stop_waking()
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:  # the child's own comes with its first log()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def flush_at_worker_exit() -> None:
    """Workers of multiprocessing leave through os._exit, without atexit: theirs is a finalizer. Those of a pool are
    ended by SIGTERM; whoever has a handler of their own for it keeps that."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # Not in the main thread, or no file or thread is to be had: what is logged is sent promptly all the same.
        with contextlib.suppress(ValueError, OSError, RuntimeError):
            signal.signal(signal.SIGTERM, _on_sigterm)
            _start_waking()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _at_exit, exitpriority=10)


def _start_waking() -> None:
    """Python runs handlers between two instructions of the main thread. A signal that comes after the last of them and
    before a system call begins would wait as long as the call does; for a worker of a pool that is for ever, and its
    parent, which joins it, waits as long. So a thread hears of the signal as well, and sends it to the main thread
    until the call is interrupted."""
    global _wakeup
    if not hasattr(signal, "pthread_kill"):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if previous != -1:  # somebody's event loop, which wakes the main thread itself
        signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)
        return
    _wakeup = (reader, writer)
    threading.Thread(target=_wake, args=(reader, threading.get_ident()), name="runtide-signals", daemon=True).start()


def _stop_waking() -> None:
    """In a forked child, whose signals must not be taken for its parent's."""
    global _wakeup
    if _wakeup is None:
        return
    ends, _wakeup = _wakeup, None
    other = signal.set_wakeup_fd(-1)
    if other != ends[1]:
        signal.set_wakeup_fd(other)
    for end in ends:
        os.close(end)


def _wake(reader: int, main: int) -> None:
    while arrived := os.read(reader, 256):
        while signal.SIGTERM in arrived and not _terminating and signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.pthread_kill(main, signal.SIGTERM)
            time.sleep(WAKE_AGAIN_S)
