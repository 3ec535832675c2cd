from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtide
from runtide import _process

from tracker import KEY, Tracker

Wait = Callable[[Callable[[], object]], None]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker()
    yield tracker
    tracker.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No server, no key and no file of the developer's own; and no run left over by a test."""
    for name in ("BASE_URL", "API_KEY", "PROJECT", "MODE", "PORT", "EXIT_TIMEOUT"):
        monkeypatch.delenv(f"RUNTIDE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    hook = sys.excepthook
    yield
    left = _process._runs.copy()
    for run in left:
        run.finish()
    sys.excepthook = hook
    assert not left, f"the test left {left} open"


@pytest.fixture
def online(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("RUNTIDE_BASE_URL", tracker.url)
    monkeypatch.setenv("RUNTIDE_API_KEY", KEY)
    return tracker


@pytest.fixture
def run(online: Tracker) -> Iterator[runtide.Run]:
    run = runtide.init(project="tests")
    yield run
    run.finish()


@pytest.fixture
def wait_until() -> Wait:
    def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.005)

    return wait
