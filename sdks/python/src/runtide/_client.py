# One GraphQL request over HTTP: what an answer means is decided here, whether to try again by the caller.
from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ._credentials import is_loopback
from ._exceptions import RuntideError, ServerError, UnreachableError
from ._version import __version__

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0


def encode(query: str, variables: dict[str, Any]) -> bytes:
    """The body of a request. Bare NaN is not JSON: it raises ValueError here rather than reach a server."""
    text = json.dumps(
        {"query": query, "variables": variables}, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )
    return text.encode()


class Client:
    def __init__(self, base_url: str, api_key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url
        self._api_key = api_key
        self._transport = transport
        self._http: httpx.Client | None = None

    def _connect(self) -> httpx.Client:
        return httpx.Client(
            headers={
                "authorization": f"Bearer {self._api_key}",
                "accept": "application/graphql-response+json, application/json",
                "content-type": "application/json",
                "user-agent": f"runtide-python/{__version__}",
            },
            # A proxy of the environment cannot reach this machine's own loopback.
            trust_env=not is_loopback(self.base_url),
            transport=self._transport,
        )

    def after_fork(self) -> None:
        """The parent's sockets stay the parent's: closing them here could end its TLS sessions."""
        self._inherited = self._http
        self._http = None

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def execute(self, query: str, variables: dict[str, Any], timeout_s: float = READ_TIMEOUT_S) -> dict[str, Any]:
        return self.post(encode(query, variables), timeout_s)

    def post(self, body: bytes, timeout_s: float = READ_TIMEOUT_S) -> dict[str, Any]:
        """The answer's `data`. Raises UnreachableError or ServerError, and nothing else."""
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        if self._http is None:  # made late: it loads certificates, which a forked worker that never logs can spare
            self._http = self._connect()
        try:
            response = self._http.post(f"{self.base_url}/graphql", content=body, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as exc:
            raise UnreachableError(f"no answer from {self.base_url} ({_reason(exc)})") from exc
        except RuntimeError as exc:  # the client was closed under a request that a deadline left behind
            raise UnreachableError(f"no connection to {self.base_url} ({exc})") from exc
        return read(response, self.base_url)


def read(response: httpx.Response, base_url: str) -> dict[str, Any]:
    retry_after = _retry_after(response.headers.get("retry-after"))
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        errors = answer.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            raise _server_error(errors[0], response.status_code, retry_after)
        data = answer.get("data")
        if response.is_success and isinstance(data, dict):
            return data
    if response.status_code == 401:
        raise ServerError("the key is missing, unknown or revoked", code="UNAUTHENTICATED", retry_after=retry_after)
    if response.status_code == 413:
        raise ServerError("the request is too large", code="INVALID_INPUT")
    # Anything else was not said by Runtide: a proxy, a server that is starting, another program on the port.
    raise UnreachableError(
        f"{base_url} answered HTTP {response.status_code}, and not as a Runtide server does", retry_after=retry_after
    )


def _server_error(error: dict[str, Any], status: int, retry_after: float | None) -> RuntideError:
    raw = error.get("extensions")
    extensions = raw if isinstance(raw, dict) else {}
    after_ms = extensions.get("retryAfterMs")
    if isinstance(after_ms, (int, float)):
        retry_after = max(0.0, after_ms / 1000)
    message = str(error.get("message") or "no message")
    code = extensions.get("code")
    field = extensions.get("field")
    if not isinstance(code, str):
        # Refusals of the GraphQL layer itself can come without a code: the status says whose fault it is.
        refused = 400 <= status < 500 and status not in (408, 425, 429)
        code = "INVALID_INPUT" if refused else "INTERNAL"
    return ServerError(message, code=code, field=field if isinstance(field, str) else None, retry_after=retry_after)


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _retry_after(header: str | None) -> float | None:
    """Seconds, from either form that HTTP allows."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
