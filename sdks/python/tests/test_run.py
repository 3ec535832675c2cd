from __future__ import annotations

import argparse
import json
import threading
import time
from typing import Any

import pytest

import runtide
from runtide import _run
from runtide._credentials import credentials_path

from conftest import Wait
from tracker import KEY, Fault, Tracker


def test_a_run_from_its_link_to_its_end(online: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    run = runtide.init(
        project="digits",
        name="first",
        config={"lr": 0.1, "decay": float("nan")},
        tags=["baseline"],
        notes="a note",
        group="g",
        job_type="train",
        entity="personal",
    )
    assert run.url == f"{online.url}/app/runs/{run.id}"
    assert run.url in capsys.readouterr().err
    created = online.runs[run.id]
    environment = created.pop("environment")
    created.pop("requestId")
    assert created == {
        "project": "digits",
        "name": "first",
        "config": {"lr": 0.1, "decay": "NaN"},
        "tags": ["baseline"],
        "notes": "a note",
        "group": "g",
        "jobType": "train",
        "workspace": "personal",
    }
    assert {"host", "python", "command"} <= environment.keys()

    run.log({"train": {"loss": 1.0}})
    run.log({"train/loss": float("nan")})
    run.log({"train/loss": float("-inf")}, step=10, time=1_700_000_000.5)
    run.log({"train/loss": 2})
    run.log({"train/loss": 3}, step=-4)
    run.finish()

    assert [step for step, _, _ in online.points["train/loss"]] == [0, 1, 10, 11, -4]
    assert str(online.values("train/loss")) == "[1.0, nan, -inf, 2.0, 3.0]"
    assert online.points["train/loss"][2][1] == 1_700_000_000_500
    assert abs(online.points["train/loss"][0][1] - time.time() * 1000) < 60_000
    assert online.finished == [{"id": run.id, "attempt": 1, "status": "COMPLETED", "exitCode": 0}]
    assert "5 points delivered" in capsys.readouterr().err


def test_every_float_arrives_to_the_bit(online: Tracker) -> None:
    values = [0.1, 1e-320, 1.7976931348623157e308, -0.0, 2**53 + 2.0, 3.141592653589793]
    with runtide.init() as run:
        for value in values:
            run.log({"x": value})
    assert [value.hex() for value in online.values("x")] == [value.hex() for value in values]


def test_nothing_is_queued_of_a_log_that_raises(run: runtide.Run, online: Tracker) -> None:
    with pytest.raises(TypeError, match="'b'"):
        run.log({"a": 1.0, "b": "wrong"})
    with pytest.raises(TypeError, match="step"):
        run.log({"a": 1.0}, step=0.5)  # type: ignore[arg-type]
    run.log({})
    run.log({"a": 2.0})
    run.finish()
    assert [(step, value) for step, _, value in online.points["a"]] == [(0, 2.0)]


def test_module_functions_work_on_the_newest_run(online: Tracker) -> None:
    with pytest.raises(runtide.RuntideError, match=r"runtide\.init"):
        runtide.log({"x": 1})
    runtide.finish()
    assert runtide.run is None
    first, second = runtide.init(name="first"), runtide.init(name="second")
    assert runtide.run is second
    runtide.log({"x": 2}, step=7)
    first.log({"x": 1})
    runtide.finish()
    assert runtide.run is first
    runtide.finish(exit_code=3)
    assert runtide.run is None
    assert [(step, value) for step, _, value in online.points["x"]] == [(7, 2.0), (0, 1.0)]
    assert [(end["id"], end["status"], end["exitCode"]) for end in online.finished] == [
        (second.id, "COMPLETED", 0),
        (first.id, "FAILED", 3),
    ]


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (ValueError("x"), "FAILED", 1),
        (KeyboardInterrupt(), "CANCELED", 130),
        (SystemExit(), "COMPLETED", 0),
        (SystemExit(2), "FAILED", 2),
        (SystemExit("message"), "FAILED", 1),
    ],
)
def test_an_exception_ends_the_run_and_goes_on(online: Tracker, exc: BaseException, status: str, code: int) -> None:
    with pytest.raises(type(exc)), runtide.init():
        raise exc
    assert [(end["status"], end["exitCode"]) for end in online.finished] == [(status, code)]


def test_finish_twice_and_log_after_it(online: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    run = runtide.init()
    run.finish()
    run.finish(1)
    run.log({"x": 1})
    run.log({"x": 1})
    assert len(online.finished) == 1
    assert not online.points
    assert capsys.readouterr().err.count("after the end") == 1


def test_config_and_summary_read_like_dicts_and_are_sent(run: runtide.Run, online: Tracker) -> None:
    run.config.update({"lr": 0.1}, momentum=0.9)
    run.config["lr"] = 0.2
    run.log({"loss": 1.0, "val": {"loss": 2.0}})
    run.summary["best"] = float("inf")
    run.name, run.tags, run.notes = "renamed", ["a", "b"], "more"
    assert dict(run.config) == {"lr": 0.2, "momentum": 0.9}
    assert dict(run.summary) == {"loss": 1.0, "val/loss": 2.0, "best": float("inf")}
    assert len(run.config) == 2
    assert "lr" in run.config
    with pytest.raises(AttributeError):
        run.config.lr = 0.3  # type: ignore[attr-defined]
    run.finish()
    merged: dict[str, Any] = {"config": {}, "summary": {}}
    for update in online.updates:
        assert update.pop("id") == run.id
        for key, value in update.items():
            merged[key] = {**merged[key], **value} if key in ("config", "summary") else value
    assert merged == {
        "config": {"lr": 0.2, "momentum": 0.9},
        "summary": {"best": "Infinity"},
        "name": "renamed",
        "tags": ["a", "b"],
        "notes": "more",
    }


def test_an_update_survives_a_fault_and_later_keys_win(run: runtide.Run, online: Tracker, wait_until: Wait) -> None:
    online.faults = lambda operation, input: Fault(code="UNAVAILABLE") if operation == "UpdateRun" else None
    run.config["lr"] = 1
    run.config["kept"] = True
    wait_until(lambda: online.operations("UpdateRun"))
    run.config["lr"] = 2
    online.faults = lambda operation, input: None
    run.finish()
    assert online.updates[-1]["config"] == {"lr": 2, "kept": True}


def test_the_key_comes_from_the_file(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_PORT", str(tracker.port))
    monkeypatch.setenv("RUNTIDE_PROJECT", "from-variable")
    path = credentials_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({f"http://localhost:{tracker.port}": {"apiKey": KEY}}))
    runtide.init().finish()
    assert next(iter(tracker.runs.values()))["project"] == "from-variable"


def test_init_without_a_key_or_a_server_says_what_to_do(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_run, "INIT_TIMEOUT_S", 0.5)
    with pytest.raises(runtide.ConfigurationError, match="RUNTIDE_API_KEY"):
        runtide.init()
    monkeypatch.setenv("RUNTIDE_BASE_URL", tracker.url)
    monkeypatch.setenv("RUNTIDE_API_KEY", "wrong")
    with pytest.raises(runtide.ServerError, match="RUNTIDE_API_KEY") as refused:
        runtide.init()
    assert refused.value.code == "UNAUTHENTICATED"
    tracker.stop()
    with pytest.raises(runtide.UnreachableError, match="npm start"):
        runtide.init()
    assert runtide.run is None
    assert capsys.readouterr().err == ""


def test_init_is_retried_and_makes_one_run(online: Tracker) -> None:
    plan = [
        Fault(cut="before"),
        Fault(cut="after"),
        Fault(status=503, code="UNAVAILABLE", headers={"retry-after": "0"}),
        Fault(text="<h1>starting</h1>", status=502),
        Fault(cut="inside"),
    ]
    online.faults = lambda operation, input: plan.pop(0) if plan and operation == "CreateRun" else None
    run = runtide.init()
    run.finish()
    assert plan == []
    assert list(online.runs) == [run.id]
    assert run.attempt == 1


def test_init_does_not_retry_what_is_refused(online: Tracker) -> None:
    online.faults = lambda operation, input: Fault(code="INVALID_INPUT", extensions={"field": "project"})
    with pytest.raises(runtide.ServerError, match=r"INVALID_INPUT: as planned \(project\)"):
        runtide.init()
    assert len(online.operations("CreateRun")) == 1


def test_init_refuses_wrong_arguments(online: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"mode": "offline"}, {"resume": "perhaps"}, {"resume": "must"}):
        with pytest.raises(runtide.ConfigurationError):
            runtide.init(**wrong)
    with pytest.raises(TypeError, match="name is a string"):
        runtide.init(name=5)  # type: ignore[arg-type]
    monkeypatch.setenv("RUNTIDE_EXIT_TIMEOUT", "soon")
    with pytest.raises(runtide.ConfigurationError, match="RUNTIDE_EXIT_TIMEOUT"):
        runtide.init()
    assert not online.requests


def test_a_resumed_run_goes_on_after_its_last_step(online: Tracker) -> None:
    with runtide.init(id="mine") as run:
        run.log({"x": 0})
    online.last_steps = [41, None, 7]
    with runtide.init(id="mine", resume="must", config={"lr": 0.01}) as again:
        assert (again.id, again.attempt, again.step) == (run.id, 2, 42)
        again.log({"x": 1})
    assert online.operations("CreateRun")[1]["resume"] == "MUST"
    assert online.operations("LogMetrics")[-1]["attempt"] == 2
    assert [step for step, _, _ in online.points["x"]] == [0, 42]
    assert online.finished[-1]["attempt"] == 2
    assert online.updates == [{"id": run.id, "config": {"lr": 0.01}}]


def test_a_resumed_run_is_what_the_server_has_and_what_was_given(online: Tracker) -> None:
    with runtide.init(id="k1", name="n1", tags=["t1"], notes="first", config={"lr": 0.1, "bs": 1}):
        pass
    online.summary = {"best": 0.5}
    with runtide.init(id="k1", resume="allow") as same:
        assert (same.name, same.tags, same.notes) == ("n1", ("t1",), "first")
        assert dict(same.config) == {"lr": 0.1, "bs": 1}
        assert dict(same.summary) == {"best": 0.5}
    assert online.updates == []
    given: dict[str, Any] = {"name": "n2", "tags": ["t2"], "notes": "more", "group": "g", "config": {"bs": 2}}
    with runtide.init(id="k1", resume="allow", **given) as changed:
        assert (changed.name, changed.tags, changed.notes) == ("n2", ("t2",), "more")
        assert dict(changed.config) == {"lr": 0.1, "bs": 2}
    assert online.updates == [{"id": changed.id, **given}]


def test_what_the_server_would_refuse_raises_at_once(run: runtide.Run, online: Tracker) -> None:
    big = "x" * (1024 * 1024)
    wrong: list[dict[str, Any]] = [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "🌊" * 129},
        {"notes": "n" * 100_001},
        {"notes": "nul\x00"},
        {"tags": ["t"] * 101},
        {"tags": ["t" * 257]},
        {"tags": [""]},
    ]
    for fields in wrong:
        with pytest.raises(ValueError):  # noqa: PT011 — the words differ
            runtide.init(**fields)
        for field, value in fields.items():
            with pytest.raises(ValueError):  # noqa: PT011
                setattr(run, field, value)
    with pytest.raises(ValueError, match="config has at most"):
        runtide.init(config={"x": big})
    for values in (run.config, run.summary):
        values["half"] = big[: len(big) // 2]
        with pytest.raises(ValueError, match="has at most"):
            values["other half"] = big[: len(big) // 2]
        assert list(values) == ["half"], "nothing of it is kept"
        values["half"] = "less"
    run.name, run.notes, run.tags = "n" * 256, "n" * 100_000, ["t" * 256] * 100
    assert len(online.runs) == 1


def test_disabled_checks_and_sends_nothing(online: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("argument", "variable"):
        if mode == "variable":
            monkeypatch.setenv("RUNTIDE_MODE", "disabled")
        with runtide.init(config=argparse.Namespace(lr=1), mode="disabled" if mode == "argument" else None) as run:
            run.log({"x": 1})
            run.config["y"] = 2
            run.name = "other"
            with pytest.raises(TypeError):
                run.log({"x": "1"})
            assert run.url is None
            assert dict(run.config) == {"lr": 1, "y": 2}
            assert run.summary["x"] == 1
    assert not online.requests


def test_threads_may_log_at_once(online: Tracker) -> None:
    with runtide.init() as run:

        def work(name: str) -> None:
            for value in range(2_000):
                run.log({name: value}, step=value)
                run.log({"shared": value})

        threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    for index in range(4):
        assert online.values(f"t{index}") == list(range(2_000))
    assert len(online.points["shared"]) == 8_000
