# What may be logged, and how Python's values become the server's. Everything that is wrong raises TypeError or
# ValueError here, at the caller's line, before anything is queued.
from __future__ import annotations

import argparse
import dataclasses
import json
import math
import operator
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, SupportsFloat

MAX_NAME_LENGTH = 256
MAX_NOTES_LENGTH = 100_000
MAX_TAGS = 100
MAX_CONFIG_BYTES = 1024 * 1024  # as JSON
MAX_SAFE_INTEGER = 2**53 - 1  # of JavaScript, in which the server is written
MAX_TIME_S = 8_640_000_000_000 / 1000  # beyond it, a number of seconds is surely one of milliseconds (year 2243)

_valid_names: set[str] = set()


def flatten(values: Mapping[str, Any]) -> dict[str, float]:
    """`{"train": {"loss": 1}}` → `{"train/loss": 1.0}`."""
    if not isinstance(values, Mapping):
        raise TypeError(f"log() takes a dict of names and numbers, not {_kind(values)}")
    flat: dict[str, float] = {}
    _flatten(values, "", flat)
    return flat


def _flatten(values: Mapping[str, Any], prefix: str, flat: dict[str, float]) -> None:
    for key, value in values.items():
        if not isinstance(key, str):
            raise TypeError(f"a metric's name is a string, not {_kind(key)}: {key!r}")
        if not key:
            raise ValueError(f"a metric's name is empty{f' (under {prefix!r})' if prefix else ''}")
        name = prefix + key
        if isinstance(value, Mapping):
            check_name(name)  # bounds the depth too, also of a dict that holds itself
            _flatten(value, f"{name}/", flat)
        elif name in flat:
            raise ValueError(f"the metric {name!r} stands twice in one log()")
        else:
            flat[check_name(name)] = number(value, name)


def check_name(name: str) -> str:
    if name in _valid_names:
        return name
    _check_characters("a metric's name", name)
    if len(_valid_names) < 100_000:
        _valid_names.add(name)
    return name


def _check_characters(what: str, name: str) -> None:
    length = _length(name)
    if length > MAX_NAME_LENGTH:
        raise ValueError(f"{what} has at most {MAX_NAME_LENGTH} characters, this one {length}: {name!r}")
    for position, character in enumerate(name):
        # Controls, halves of surrogate pairs, and the two separators that JavaScript takes for line ends.
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"{what} has no control characters, this one at {position}: {name!r}")


def _length(text: str) -> int:
    """The server counts UTF-16 units, of which characters like emoji have two."""
    return len(text) + sum(character > "\uffff" for character in text)


def check_label(what: str, value: Any) -> str:
    """A run's name, a tag, and other names that are not a metric's."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a string, not {_kind(value)}: {value!r}")
    if not value:
        raise ValueError(f"{what} is empty")
    _check_characters(what, value)
    return value


def check_notes(notes: Any) -> str:
    if not isinstance(notes, str):
        raise TypeError(f"notes is a string, not {_kind(notes)}: {notes!r}")
    length = _length(notes)
    if length > MAX_NOTES_LENGTH:
        raise ValueError(f"notes has at most {MAX_NOTES_LENGTH:,} characters, this one {length:,}")
    if notes != _text(notes):
        raise ValueError("notes has no NUL characters and no broken Unicode")
    return notes


def json_sizes(wire: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each entry in JSON text; what joins them is one a piece."""
    return {key: len(_dump(key)) + len(_dump(value)) + 2 for key, value in wire.items()}


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def check_size(field: str, sizes: Mapping[str, int]) -> None:
    size = 1 + sum(sizes.values())
    if size > MAX_CONFIG_BYTES:
        largest = max(sizes, key=lambda key: sizes[key])
        raise ValueError(
            f"{field} has at most {MAX_CONFIG_BYTES:,} bytes as JSON, this one {size:,} "
            f"(the largest is {largest!r} with {sizes[largest]:,})"
        )


def number(value: Any, name: str) -> float:
    """A float for anything that is one number: bool, int, float, Decimal, scalars of numpy, torch, jax, tensorflow."""
    if type(value) is float:
        return value
    if isinstance(value, (str, bytes, bytearray)) or value is None:
        raise TypeError(f"the metric {name!r} is {_kind(value)}: log() takes numbers")
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except Exception as exc:
            shape = getattr(value, "shape", None)
            what = f"an array of shape {tuple(shape)}" if shape else _kind(value)
            raise TypeError(f"the metric {name!r} is {what}: log() takes single numbers") from exc
    if not isinstance(value, SupportsFloat) or isinstance(value, (str, bytes)):
        raise TypeError(f"the metric {name!r} is {_kind(value)}: log() takes numbers")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"the metric {name!r} is too large for a 64-bit float") from None
    except (TypeError, ValueError) as exc:
        raise TypeError(f"the metric {name!r} is {_kind(value)}: log() takes numbers") from exc


def check_step(step: Any) -> int:
    if isinstance(step, bool):
        raise TypeError("step is an integer, not a bool")
    try:
        value = operator.index(step)
    except TypeError:
        raise TypeError(f"step is an integer, not {_kind(step)}: {step!r}") from None
    if abs(value) > MAX_SAFE_INTEGER:
        raise ValueError(f"step is within ±(2^53 - 1), not {value}")
    return value


def milliseconds(time: Any) -> int:
    """Milliseconds since the Unix epoch, from seconds (as `time.time()` gives) or a datetime."""
    if isinstance(time, datetime):
        time = time.timestamp()
    elif isinstance(time, bool) or not isinstance(time, SupportsFloat):
        raise TypeError(f"time is seconds since the Unix epoch or a datetime, not {_kind(time)}")
    seconds = float(time)
    if not math.isfinite(seconds) or abs(seconds) > MAX_TIME_S:
        raise ValueError(f"time is seconds (not milliseconds) since the Unix epoch, not {time}")
    return round(seconds * 1000)


def wire_value(value: float) -> float | str:
    """JSON has no NaN: the API takes these three as strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def wire_config(config: Any) -> dict[str, Any]:
    """A JSON object from a mapping, an argparse.Namespace or a dataclass."""
    if config is None:
        return {}
    if isinstance(config, argparse.Namespace):
        config = vars(config)
    elif dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    if not isinstance(config, Mapping):
        raise TypeError(f"config is a dict, an argparse.Namespace or a dataclass, not {_kind(config)}")
    try:
        return {_text(str(key)): _json(value) for key, value in config.items()}
    except RecursionError:
        raise ValueError("config is nested too deeply, or holds itself") from None


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        # A 64-bit seed would lose its last digits in a JavaScript number.
        return int(value) if abs(value) <= MAX_SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return wire_value(float(value))
    if isinstance(value, Mapping):
        return {_text(str(key)): _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_json(inner) for inner in value), key=repr)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _json(dataclasses.asdict(value))
    for method in ("item", "tolist"):  # numpy and torch: scalars first, then arrays
        convert = getattr(value, method, None)
        if callable(convert):
            try:
                converted = convert()
            except Exception:  # noqa: S112 — an array of several numbers has no item()
                continue
            if type(converted) is not type(value):
                return _json(converted)
    return _text(str(value))


def _text(value: str) -> str:
    # PostgreSQL's jsonb has no NUL, and UTF-8 no lone surrogates.
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def check_tags(tags: Any) -> list[str]:
    if tags is None:
        return []
    if isinstance(tags, str):
        tags = [tags]
    if not isinstance(tags, Iterable) or isinstance(tags, Mapping):
        raise TypeError(f"tags is a list of strings, not {_kind(tags)}")
    result = list(tags)
    if len(result) > MAX_TAGS:
        raise ValueError(f"a run has at most {MAX_TAGS} tags, not {len(result)}")
    return [check_label("a tag", tag) for tag in result]


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
