"""Log training runs to Runtide and watch them live.

import runtide

with runtide.init(project="digits", config={"lr": 0.1}) as run:
    run.log({"train/loss": 0.5})
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _process
from ._exceptions import ConfigurationError, RuntideError, ServerError, UnreachableError
from ._run import Run, init
from ._version import __version__

if TYPE_CHECKING:
    run: Run | None
    """The run that `init` made last and that has not ended, or None."""

__all__ = [
    "init",
    "log",
    "finish",
    "run",
    "Run",
    "RuntideError",
    "ConfigurationError",
    "UnreachableError",
    "ServerError",
    "__version__",
]


def log(values: Mapping[str, Any], step: int | None = None, time: float | datetime | None = None) -> None:
    """`Run.log` of the current run."""
    current = _process.current()
    if current is None:
        raise RuntideError("no run to log to: call runtide.init() first")
    current.log(values, step=step, time=time)


def finish(exit_code: int = 0) -> None:
    """`Run.finish` of the current run; does nothing without one."""
    current = _process.current()
    if current is not None:
        current.finish(exit_code)


def __getattr__(name: str) -> Any:
    if name == "run":
        return _process.current()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
