# Which server to talk to, and with which key. Reads the environment and ~/.config/runtide/credentials.json; never
# writes either.
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ._exceptions import ConfigurationError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORT = "4000"


class ApiKey(NamedTuple):
    secret: str
    source: str
    """Where it was found, for messages: the variable's name or the file's path."""


def base_url() -> str:
    """The server's address without a slash at the end."""
    value = os.environ.get("RUNTIDE_BASE_URL", "").strip()
    if not value:
        value = f"http://localhost:{os.environ.get('RUNTIDE_PORT', '').strip() or DEFAULT_PORT}"
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"{value!r} is not a server's address: set RUNTIDE_BASE_URL to http://host:port")
    return value.rstrip("/")


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def credentials_path() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    folder = Path(configured) if os.path.isabs(configured) else Path.home() / ".config"
    return folder / "runtide" / "credentials.json"


def api_key(url: str) -> ApiKey:
    """The key for the server at `url`; raises ConfigurationError when there is none."""
    from_environment = os.environ.get("RUNTIDE_API_KEY", "").strip()
    if from_environment:
        return _checked(ApiKey(from_environment, "RUNTIDE_API_KEY"))
    path = credentials_path()
    entries = _read(path)
    wanted = _same_server(url)
    for address, entry in entries.items():
        if _same_server(address) == wanted:
            secret = entry.get("apiKey") if isinstance(entry, dict) else None
            if isinstance(secret, str) and secret.strip():
                return _checked(ApiKey(secret.strip(), str(path)))
            raise ConfigurationError(f'{path}: the entry {address!r} has no "apiKey"')
    known = f" (it has keys for {', '.join(entries)})" if entries else ""
    raise ConfigurationError(
        f"No API key for {url}: set RUNTIDE_API_KEY, or start the server on this machine, which writes its key to "
        f"{path}{known}"
    )


def _checked(key: ApiKey) -> ApiKey:
    # Anything else cannot stand in a header, and httpx's own message would print the key.
    if not (key.secret.isascii() and key.secret.isprintable()):
        raise ConfigurationError(f"The API key in {key.source} has characters that no key has: copy it again")
    return key


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{path} cannot be read ({exc}): mend or remove it, or set RUNTIDE_API_KEY") from exc
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is not a JSON object: mend or remove it, or set RUNTIDE_API_KEY")
    return content


def _same_server(url: str) -> tuple[str, str, int | None, str]:
    """Equal for addresses of one server: 127.0.0.1 is localhost, and a default port may be left out."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ("", url, None, "")
    host = parts.hostname or ""
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return (parts.scheme, "localhost" if host in LOOPBACK else host, port or default, parts.path.rstrip("/"))
