# RuntideError
#   ├── ConfigurationError   a variable, a file or an argument is missing or wrong; nothing was sent
#   ├── UnreachableError     no answer of a Runtide server: connection, timeout, proxy, restart; worth another try
#   └── ServerError          the server answered with an error; `code` says which, `temporary` whether to try again
from __future__ import annotations

# Codes of answers after which the same request can succeed. UNAUTHENTICATED is among them because a key can be
# enabled again; every other code is the server's last word on a request.
TEMPORARY_CODES = frozenset({"UNAUTHENTICATED", "RATE_LIMITED", "UNAVAILABLE", "INTERNAL"})


class RuntideError(Exception):
    """Base class of everything that this package raises on its own account."""


class ConfigurationError(RuntideError):
    """A variable, a file or an argument is missing or wrong."""


class UnreachableError(RuntideError):
    """No Runtide server answered; `retry_after` is in seconds, where something on the way named it."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerError(RuntideError):
    """The server's own answer; `retry_after` is in seconds."""

    def __init__(self, message: str, *, code: str, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.retry_after = retry_after

    @property
    def temporary(self) -> bool:
        return self.code in TEMPORARY_CODES

    def __str__(self) -> str:
        message = super().__str__()
        where = f" ({self.field})" if self.field and self.field not in message else ""
        return f"{self.code}: {message}{where}"
