# Points on their way out, as columns by metric: 24 bytes a point. Knows nothing of threads; the sender holds its lock
# around every call.
from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping
from typing import Any

from ._values import wire_value


class Columns:
    """The points of one metric, in the order in which they were logged."""

    __slots__ = ("steps", "times", "values")

    def __init__(self) -> None:
        self.steps = array("q")
        self.times = array("q")
        self.values = array("d")


class Batch:
    """What one request carries; each of its metrics keeps the order of logging."""

    __slots__ = ("metrics", "points")

    def __init__(self) -> None:
        self.metrics: dict[str, Columns] = {}
        self.points = 0

    def append(self, name: str, step: int, time_ms: int, value: float) -> None:
        columns = self.metrics.get(name)
        if columns is None:
            columns = self.metrics[name] = Columns()
        columns.steps.append(step)
        columns.times.append(time_ms)
        columns.values.append(value)
        self.points += 1

    def to_input(self) -> list[dict[str, Any]]:
        """The API's `metrics` of `logMetrics`."""
        return [
            {
                "name": name,
                "tag": "",
                "steps": columns.steps.tolist(),
                "times": columns.times.tolist(),
                "values": [wire_value(value) for value in columns.values],
            }
            for name, columns in self.metrics.items()
        ]


class Queue:
    """Batches of at most `batch_points` points, in order; the points of one step share one where they can."""

    def __init__(self, batch_points: int) -> None:
        self._batch_points = batch_points
        self._batches: deque[Batch] = deque()
        self.points = 0

    @property
    def has_full_batch(self) -> bool:
        return len(self._batches) > 1 or (bool(self._batches) and self._batches[0].points >= self._batch_points)

    def add(self, step: int, time_ms: int, values: Mapping[str, float]) -> None:
        last = self._batches[-1] if self._batches else None
        if last is None or last.points + len(values) > self._batch_points:
            last = self._open()
        for name, value in values.items():
            if last.points >= self._batch_points:
                last = self._open()
            last.append(name, step, time_ms, value)
            self.points += 1

    def _open(self) -> Batch:
        batch = Batch()
        self._batches.append(batch)
        return batch

    def take(self) -> Batch | None:
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self.points -= batch.points
        return batch
