"""Secrets for registries: their options, their files, and the connections that may carry them."""

from pathlib import Path

import pytest

from fastrpc import ConfigError
from fastrpc.registries import open_registry
from fastrpc.registries.base.secrets import check_carried, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.watched_file import WatchedFile

SECRET = "pl4nted"


def checked(text: str) -> str:
    if not text.isprintable():
        raise ConfigError("the token has characters that no header may have")
    return text


def taken(options: str, default: str | None = None) -> str | None:
    secret = take_secret(RegistryURL(f"x://h:1?{options}"), "token", checked, default=default)
    return None if secret is None else secret()


def test_secret_is_an_option_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f" {SECRET}\n")
    assert taken(f"token={SECRET}") == SECRET
    assert taken(f"token_file={file}") == SECRET
    assert taken("", SECRET) == SECRET
    assert taken("") is None


def test_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look finds that the second between two looks is over.
    monkeypatch.setattr(WatchedFile, "look", WatchedFile.reload)
    file = tmp_path / "token"
    file.write_text("one")
    secret = take_secret(RegistryURL(f"x://h:1?token_file={file}"), "token", checked)
    assert secret is not None
    assert secret() == "one"
    file.write_text("another")
    assert secret() == "another"
    file.write_text("\x00")
    assert secret() == "another"


def test_both_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the options token and token_file are both given"):
        taken(f"token={SECRET}&token_file={tmp_path}")


def test_error_has_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\x00")
    for options in (f"token={SECRET}%00", f"token_file={file}", f"token={SECRET}&token={SECRET}"):
        with pytest.raises(ConfigError) as caught:
            taken(options)
        assert SECRET not in f"{caught.value}"


@pytest.mark.parametrize("place", ["10.0.0.1", "registry.example", "[fd00::1]", "127.0.0.1:1,10.0.0.1"])
def test_secret_over_a_plain_connection_is_refused(place: str) -> None:
    for options in ("", "?allow_insecure=false"):
        url = RegistryURL(f"x://{place}{options}")
        with pytest.raises(ConfigError, match="its token would travel in the clear") as caught:
            check_carried(url, url.places(1), kind="token", is_encrypted=False)
        assert "allow_insecure=true" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("url", "kind", "is_encrypted"),
    [
        ("x://10.0.0.1", "", False),
        ("x://10.0.0.1", "token", True),
        ("x://10.0.0.1?allow_insecure=true", "token", False),
        ("x://127.0.0.1", "token", False),
        ("x://localhost,[::1]", "token", False),
    ],
)
def test_secret_may_travel(url: str, kind: str, is_encrypted: bool) -> None:
    read = RegistryURL(url)
    check_carried(read, read.places(1), kind=kind, is_encrypted=is_encrypted)
    read.take_shared()


@pytest.mark.parametrize("scheme", ["consul", "registry"])
def test_every_registry_with_a_token_refuses_it_in_the_clear(scheme: str) -> None:
    with pytest.raises(ConfigError, match="its token would travel in the clear"):
        open_registry(f"{scheme}://10.0.0.1:8500?token={SECRET}")
    open_registry(f"{scheme}://10.0.0.1:8500?token={SECRET}&allow_insecure=true").close()


def test_token_of_the_environment_is_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", SECRET)
    with pytest.raises(ConfigError, match="its token would travel in the clear"):
        open_registry("consul://10.0.0.1:8500")


@pytest.mark.parametrize("url", ["dns://10.0.0.1:53?allow_insecure=true", "static://a:1?allow_insecure=true"])
def test_registry_without_secrets_has_no_such_option(url: str) -> None:
    with pytest.raises(ConfigError, match="has no option allow_insecure"):
        open_registry(url)
