from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtide import ConfigurationError
from runtide._credentials import api_key, base_url, credentials_path, is_loopback


@pytest.fixture
def file() -> Path:
    path = credentials_path()
    path.parent.mkdir(parents=True)
    return path


def write(path: Path, content: Any) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_url() == "http://localhost:4000"
    monkeypatch.setenv("RUNTIDE_PORT", "4100")
    assert base_url() == "http://localhost:4100"
    monkeypatch.setenv("RUNTIDE_BASE_URL", "https://tide.example.org/team/")
    assert base_url() == "https://tide.example.org/team"


@pytest.mark.parametrize("address", ["localhost:4000", "ftp://localhost", "http://", "http://host:port"])
def test_a_wrong_address_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_BASE_URL", address)
    with pytest.raises(ConfigurationError, match="RUNTIDE_BASE_URL"):
        base_url()


def test_the_variable_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, {"http://localhost:4000": {"apiKey": "from-file"}})
    assert api_key("http://localhost:4000") == ("from-file", str(file))
    monkeypatch.setenv("RUNTIDE_API_KEY", "from-variable")
    assert api_key("http://localhost:4000") == ("from-variable", "RUNTIDE_API_KEY")


def test_an_entry_a_server_and_loopback_has_many_names(file: Path) -> None:
    write(file, {"http://localhost:4000": {"apiKey": "a"}, "https://tide.example.org": {"apiKey": "b"}})
    assert api_key("http://127.0.0.1:4000").secret == "a"
    assert api_key("http://[::1]:4000/").secret == "a"
    assert api_key("https://tide.example.org:443").secret == "b"
    for other in ("http://localhost:4001", "https://localhost:4000", "http://tide.example.org"):
        with pytest.raises(ConfigurationError, match=r"it has keys for http://localhost:4000, https://tide"):
            api_key(other)


def test_without_a_key_both_ways_are_named() -> None:
    with pytest.raises(ConfigurationError, match="RUNTIDE_API_KEY") as info:
        api_key("http://localhost:4000")
    assert str(credentials_path()) in str(info.value)


@pytest.mark.parametrize("content", ["{", "[]", {"http://localhost:4000": {}}, {"http://localhost:4000": "key"}])
def test_a_broken_file_is_named(file: Path, content: Any) -> None:
    write(file, content)
    with pytest.raises(ConfigurationError, match=str(file)):
        api_key("http://localhost:4000")


def test_a_key_that_no_header_can_hold_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_API_KEY", "secret\nkey")
    with pytest.raises(ConfigurationError, match="RUNTIDE_API_KEY") as info:
        api_key("http://localhost:4000")
    assert "secret" not in str(info.value)


def test_the_default_folder_is_in_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert credentials_path() == tmp_path / ".config" / "runtide" / "credentials.json"


def test_loopback() -> None:
    assert is_loopback("http://localhost:4000")
    assert is_loopback("http://[::1]:4000")
    assert not is_loopback("https://tide.example.org")
