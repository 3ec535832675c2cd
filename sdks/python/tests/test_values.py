from __future__ import annotations

import argparse
import dataclasses
import json
import math
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtide._values import check_step, check_tags, flatten, milliseconds, wire_config, wire_value


class Tensor:
    """A stand-in for torch's: one number behind item()."""

    def __init__(self, *values: float) -> None:
        self.values = values
        self.shape = (len(values),)

    def item(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.values[0]


def test_nested_dicts_are_flattened() -> None:
    assert flatten({"loss": 1, "train": {"loss": 0.5, "top": {"1": True}}, "none": {}}) == {
        "loss": 1.0,
        "train/loss": 0.5,
        "train/top/1": 1.0,
    }


@pytest.mark.parametrize(
    "value",
    [
        2.0,
        2,
        Decimal("2.0"),
        Fraction(4, 2),
        np.float32(2),
        np.float64(2),
        np.int8(2),
        np.array(2),
        np.array([2.0]),
        Tensor(2.0),
    ],
)
def test_everything_that_is_one_number_is_a_float(value: Any) -> None:
    (result,) = flatten({"x": value}).values()
    assert result == 2.0
    assert type(result) is float


def test_what_is_not_finite_is_kept() -> None:
    flat = flatten({"nan": float("nan"), "inf": np.float32("inf"), "-inf": Decimal("-Infinity")})
    assert math.isnan(flat["nan"])
    assert [wire_value(value) for value in flat.values()] == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": "1"}, "'x' is of type str"),
        ({"x": None}, "'x' is None"),
        ({"x": [1.0]}, "'x' is of type list"),
        ({"x": 1j}, "'x' is of type complex"),
        ({"x": np.complex64(1j)}, "'x' is of type complex"),
        ({"x": np.array("a")}, "'x' is of type str"),
        ({"a": {"b": np.zeros(3)}}, r"'a/b' is an array of shape \(3,\)"),
        ({"x": Tensor(1.0, 2.0)}, r"'x' is an array of shape \(2,\)"),
        ({1: 1.0}, "name is a string, not of type int"),
        ([("x", 1.0)], "takes a dict"),
    ],
)
def test_a_wrong_type_is_named(values: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        flatten(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"": 1.0}, "is empty"),
        ({"a": {"": 1.0}}, "is empty"),
        ({"x" * 257: 1.0}, "at most 256 characters, this one 257"),
        ({"a\nb": 1.0}, "no control characters, this one at 1"),
        ({"a\x7f": 1.0}, "no control characters"),
        ({"\ud800": 1.0}, "no control characters"),
        ({"a\u2028": 1.0}, "no control characters"),
        ({"\U0001f30a" * 129: 1.0}, "at most 256 characters, this one 258"),
        ({"a/b": 1.0, "a": {"b": 2.0}}, "'a/b' stands twice"),
        ({"x": 10**400}, "too large"),
    ],
)
def test_a_wrong_name_or_value_is_named(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flatten(values)


def test_a_dict_that_holds_itself_is_refused() -> None:
    values: dict[str, Any] = {}
    values["again"] = values
    with pytest.raises(ValueError, match="at most 256 characters"):
        flatten(values)


def test_names_of_256_characters_of_any_script_are_accepted() -> None:
    assert flatten({"é" * 256: 1, "\U0001f30a" * 128: 4, "損失": 2, "a b.c[0]": 3})


def test_steps() -> None:
    assert [check_step(step) for step in (0, -5, np.int64(7), 2**53 - 1)] == [0, -5, 7, 2**53 - 1]
    for wrong in (1.0, "1", True, None):
        with pytest.raises(TypeError, match="step is an integer"):
            check_step(wrong)
    with pytest.raises(ValueError, match="step is within"):
        check_step(2**53)


def test_times() -> None:
    assert milliseconds(1_700_000_000.1234) == 1_700_000_000_123
    assert milliseconds(datetime(2024, 1, 1, tzinfo=timezone.utc)) == 1_704_067_200_000
    for wrong in (1_700_000_000_000, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            milliseconds(wrong)
    with pytest.raises(TypeError, match="seconds"):
        milliseconds("now")


@dataclasses.dataclass
class Optimizer:
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


def test_config_becomes_json_that_loses_nothing() -> None:
    config = {
        "lr": np.float32(0.5),
        "layers": np.array([64, 10]),
        "decay": float("nan"),
        "seed": 2**63 - 1,
        "path": Path("/data"),
        "optimizer": Optimizer(0.1),
        "flags": {"b", "a"},
        "none": None,
        1: "one",
        "text": "nul\x00 and \ud800",
    }
    wire = wire_config(config)
    assert wire == {
        "lr": 0.5,
        "layers": [64, 10],
        "decay": "NaN",
        "seed": "9223372036854775807",
        "path": "/data",
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.999]},
        "flags": ["a", "b"],
        "none": None,
        "1": "one",
        "text": "nul\ufffd and ?",
    }
    json.dumps(wire, allow_nan=False, ensure_ascii=False).encode()


def test_config_of_argparse_and_dataclasses() -> None:
    assert wire_config(argparse.Namespace(lr=0.1)) == {"lr": 0.1}
    assert wire_config(Optimizer(0.1))["lr"] == 0.1
    with pytest.raises(TypeError, match="config is a dict"):
        wire_config([1])
    circle: dict[str, Any] = {}
    circle["again"] = circle
    with pytest.raises(ValueError, match="holds itself"):
        wire_config(circle)


def test_tags() -> None:
    assert check_tags(None) == []
    assert check_tags("one") == ["one"]
    assert check_tags(("a", "b")) == ["a", "b"]
    with pytest.raises(TypeError, match="a tag is a string"):
        check_tags([1])
