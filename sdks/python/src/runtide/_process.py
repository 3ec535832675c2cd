# What the process does to its runs: its end, an uncaught exception, a fork. One hook of each kind for all runs.
from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Run

_runs: list[Run] = []
"""Not finished yet, the newest last."""

_installed = False
_ending: tuple[str, int] = ("COMPLETED", 0)


def current() -> Run | None:
    return _runs[-1] if _runs else None


def opened(run: Run) -> None:
    _install()
    _runs.append(run)


def closed(run: Run) -> None:
    with contextlib.suppress(ValueError):
        _runs.remove(run)


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


def _at_exit() -> None:
    for run in reversed(_runs.copy()):
        with contextlib.suppress(Exception, KeyboardInterrupt):
            run._end(*_ending)


def _after_fork() -> None:
    for run in _runs:
        run._after_fork()


def flush_at_worker_exit() -> None:
    """Workers of multiprocessing leave through os._exit, without atexit: theirs is a finalizer."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _at_exit, exitpriority=10)
