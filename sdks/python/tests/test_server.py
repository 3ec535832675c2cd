"""The client against the real server: one at RUNTIDE_TEST_URL, or one that this test starts from the repository."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import runtide

ROOT = Path(__file__).parents[3]
NODE = ROOT / "node_modules" / ".bin" / "node"
START_S = 120.0

RUN = """query ($id: ID!) { run(id: $id) {
  name status config summary tags notes attempts { number status exitCode }
  metrics(first: 100) { nodes { name count } }
} }"""
POINTS = """query ($id: ID!, $name: String!) { run(id: $id) { points(name: $name, first: 1000) {
  steps times values
} } }"""


class Api:
    """Reads what the server has, beside the client under test."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {self.key}"},
            timeout=30,
            trust_env=False,
        ).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def points(self, run: runtide.Run, name: str) -> list[tuple[int, float]]:
        points = self.query(POINTS, id=run.id, name=name)["run"]["points"]
        return list(zip(points["steps"], map(float, points["values"]), strict=True))


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    if "RUNTIDE_TEST_URL" in os.environ:
        yield Api(os.environ["RUNTIDE_TEST_URL"].rstrip("/"), os.environ["RUNTIDE_TEST_API_KEY"])
        return
    if not (ROOT / "src" / "main.ts").exists():
        pytest.skip("this is not a checkout of the repository, and RUNTIDE_TEST_URL is not set")
    assert NODE.exists(), "node_modules is missing: run npm ci first, or set RUNTIDE_TEST_URL"
    with tempfile.TemporaryDirectory(prefix="runtide-python-test-") as name:
        # The embedded database may run as a user of its own, who has to get here.
        Path(name).chmod(0o755)
        yield from _start(Path(name))


def _start(folder: Path) -> Iterator[Api]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://localhost:{port}"
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR", "USER")}
    environment = {
        **inherited,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "RUNTIDE_DATA_DIR": str(folder / "data"),
        "RUNTIDE_PORT": str(port),
    }
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [str(NODE), "src/main.ts"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not (key := _ready(url, folder)):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Api(url, key)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)


def _ready(url: str, folder: Path) -> str | None:
    """The key, once the server can serve and has written it."""
    try:
        if not httpx.get(f"{url}/readyz", trust_env=False).is_success:
            return None
        entries = json.loads((folder / "config" / "runtide" / "credentials.json").read_text())
    except (httpx.HTTPError, FileNotFoundError):
        return None
    key: str = entries[url]["apiKey"]
    return key


@pytest.fixture
def connected(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("RUNTIDE_BASE_URL", api.url)
    monkeypatch.setenv("RUNTIDE_API_KEY", api.key)
    return api


def test_a_run_is_stored_as_it_was_logged(connected: Api) -> None:
    values = [0.1, float("nan"), float("inf"), float("-inf"), 1e-320, 1.7976931348623157e308, 2.0**53]
    config = {"lr": 0.1, "layers": [64, 10], "decay": float("nan")}
    with runtide.init(project="python-client", config=config, tags=["a", "b"], notes="a note") as run:
        for value in values:
            run.log({"train": {"loss": value}})
        for step in range(25_000):
            run.log({"many": step}, step=step)
        run.log({"損失 🌊": 1}, step=-5)
        run.summary["best"] = 0.5
        run.config["late"] = True
    stored = connected.query(RUN, id=run.id)["run"]
    assert stored["status"] == "COMPLETED"
    assert stored["name"] == run.name
    assert stored["config"] == {"lr": 0.1, "layers": [64, 10], "decay": "NaN", "late": True}
    assert stored["summary"]["best"] == 0.5
    assert (stored["tags"], stored["notes"]) == (["a", "b"], "a note")
    counts = {metric["name"]: metric["count"] for metric in stored["metrics"]["nodes"]}
    assert counts == {"train/loss": len(values), "many": 25_000, "損失 🌊": 1}
    points = connected.points(run, "train/loss")
    assert [step for step, _ in points] == list(range(len(values)))
    assert [value.hex() for _, value in points] == [value.hex() for value in values]
    assert connected.points(run, "損失 🌊") == [(-5, 1.0)]


def test_a_run_is_resumed_where_it_was(connected: Api) -> None:
    key = f"resumed-{time.time_ns()}"
    run = runtide.init(project="python-client", id=key, name="n1", tags=["t1"], config={"lr": 0.1, "bs": 1})
    run.summary["best"] = 0.5
    run.log({"x": 0})
    run.log({"x": 1})
    run.finish(exit_code=1)
    with pytest.raises(runtide.ServerError, match="CONFLICT"):
        runtide.init(project="python-client", id=key)
    given: dict[str, Any] = {"name": "n2", "tags": ["t2"], "config": {"bs": 2}}
    with runtide.init(project="python-client", id=key, resume="must", **given) as again:
        assert (again.id, again.attempt, again.step) == (run.id, 2, 2)
        assert dict(again.config) == {"lr": 0.1, "bs": 2}
        assert dict(again.summary) == {"best": 0.5}
        again.log({"x": 2})
    stored = connected.query(RUN, id=run.id)["run"]
    assert stored["config"] == {"lr": 0.1, "bs": 2}
    assert (stored["name"], stored["tags"]) == ("n2", ["t2"])
    attempts = sorted((one["number"], one["status"], one["exitCode"]) for one in stored["attempts"])
    assert attempts == [(1, "FAILED", 1), (2, "COMPLETED", 0)]
    assert connected.points(run, "x") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_what_the_server_refuses_does_not_end_the_run(
    connected: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtide import _run  # the client checks names itself: without its check, the server's answer is seen

    with runtide.init(project="python-client") as run:
        run.log({"good": 1})
        monkeypatch.setattr(_run, "flatten", lambda values: values)
        deadline = time.monotonic() + 10
        assert run._sender is not None
        while run._sender.undelivered:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.log({"bad\n": 2.0})
        while run._sender.undelivered:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.log({"good": 3.0})
    assert connected.points(run, "good") == [(0, 1.0), (2, 3.0)]
    assert "refused 1 points" in capsys.readouterr().err


def test_a_key_that_has_spent_its_budget_waits_and_loses_nothing(
    connected: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = connected.query(
        'mutation { createApiKey(input: { name: "limited", scopes: [READ, WRITE], rateLimit: 300 }) { secret } }'
    )
    secret = made["createApiKey"]["secret"]
    monkeypatch.setenv("RUNTIDE_API_KEY", secret)
    monkeypatch.setenv("RUNTIDE_EXIT_TIMEOUT", "60")

    def spend() -> int:
        """All that there is; how often it was asked."""
        asked = 0
        headers = {"authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=connected.url, headers=headers, trust_env=False) as client:
            while (answer := client.post("/graphql", json={"query": "{ viewer { name } }"})).is_success:
                asked += 1
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        return asked

    with runtide.init(project="python-client") as run:
        assert spend() > 200
        for step in range(1_000):
            run.log({"x": step})
            if step % 250 == 0:
                spend()
                time.sleep(0.3)
    assert connected.points(run, "x") == [(step, float(step)) for step in range(1_000)]
    assert connected.query(RUN, id=run.id)["run"]["status"] == "COMPLETED"
    assert "dropped" not in capsys.readouterr().err


def test_a_wrong_key_is_refused_at_once(connected: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_API_KEY", connected.key[:-4] + "0000")
    with pytest.raises(runtide.ServerError, match="RUNTIDE_API_KEY") as refused:
        runtide.init(project="python-client")
    assert refused.value.code == "UNAUTHENTICATED"


def test_the_digits_example_learns_and_is_stored(connected: Api) -> None:
    result = subprocess.run(
        [sys.executable, "examples/train_digits.py", "--steps", "300", "--delay", "0"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    url = result.stdout.split()[-1]
    assert url.startswith(f"{connected.url}/app/runs/")
    assert url in result.stderr
    stored = connected.query(RUN, id=url.rsplit("/", 1)[1])["run"]
    assert stored["status"] == "COMPLETED"
    assert stored["summary"]["accuracy"] >= 0.95
    counts = {metric["name"]: metric["count"] for metric in stored["metrics"]["nodes"]}
    assert counts == {"train/loss": 300, "train/accuracy": 300, "val/loss": 31, "val/accuracy": 31}
    losses = connected.query(POINTS, id=url.rsplit("/", 1)[1], name="train/loss")["run"]["points"]["values"]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0] / 3


def test_the_example_over_fetch_says_what_it_lacks(tmp_path: Path) -> None:
    if not NODE.exists():
        pytest.skip("Node 24 is not installed here")
    result = subprocess.run(
        [str(NODE), "examples/log_metrics.ts"],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "No API key for http://localhost:4000" in result.stderr
    assert "RUNTIDE_API_KEY" in result.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_example_over_fetch(connected: Api, tmp_path: Path, host: str) -> None:
    if not NODE.exists():
        pytest.skip("Node 24 is not installed here")
    # The entry and the address name one server, whichever of the two names each of them uses.
    port = connected.url.rsplit(":", 1)[1]
    file = tmp_path / "fetch" / "runtide" / "credentials.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({f"http://{host}:{port}": {"apiKey": connected.key}}))
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "XDG_CONFIG_HOME": str(tmp_path / "fetch"),
        "RUNTIDE_PORT": port,
    }
    result = subprocess.run(
        [str(NODE), "examples/log_metrics.ts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    stored = connected.query(RUN, id=result.stdout.split()[-1].rsplit("/", 1)[1])["run"]
    assert stored["status"] == "COMPLETED"
    assert [(metric["name"], metric["count"]) for metric in stored["metrics"]["nodes"]] == [("loss", 200)]
