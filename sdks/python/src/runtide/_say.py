# What the package tells people, on stderr. It never raises: a closed stderr must not end a training run.
from __future__ import annotations

import contextlib
import sys


def say(message: str) -> None:
    with contextlib.suppress(Exception):
        print(f"runtide: {message}", file=sys.stderr, flush=True)
