"""Tokens and passwords for registries: reading them from options or files, and refusing to send them in plain text."""

import logging
import os
from collections.abc import Callable, Iterable

from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.registries.base.urls import RegistryURL, truth
from fastrpc.watched_file import WatchedFile

__all__ = ["Secret", "check_carried", "header_token", "take_login", "take_secret"]

logger = logging.getLogger("fastrpc.audit")

#: Returns the secret for the next request. A changed file is read again.
Secret = Callable[[], str]


def header_token(token: str) -> str:
    """Return a token after checking that an HTTP header may contain it.

    Raises:
        ConfigError: a header may not contain the token.
    """
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("the token has characters that no header may have")
    return token


def take_secret(
    url: RegistryURL,
    name: str,
    check: Callable[[str], str],
    *,
    default: str | None = None,
    default_file: str | None = None,
) -> Secret | None:
    """Return the source of a secret: the option `name`, or the file that the option `name_file` names.

    Args:
        check: returns a secret after checking it, or raises ConfigError without the secret in its text.
        default: the secret if both options are missing.
        default_file: the file if both options are missing.

    Raises:
        ConfigError: both options are given, or the secret cannot be used.
    """
    path, text = url.take(f"{name}_file", None, os.path.expanduser), url.take(name, None, str)
    if path is not None and text is not None:
        raise ConfigError(f"{url}: the options {name} and {name}_file are both given", hint="leave one out")
    if path is None and text is None:
        path = default_file
    try:
        if path is not None:
            # White space around the secret is removed.
            file = WatchedFile(
                path, f"the {name} file", lambda read: check(read.strip(" \t\r\n")), logger=logger
            )

            def current() -> str:
                file.look()
                return file.value

            return current
        known = text if text is not None else default
        if known is None:
            return None
        checked = check(known)
    except ConfigError as error:
        raise ConfigError(f"{url}: {error.message}", hint=error.hint) from None
    return lambda: checked


def take_login(url: RegistryURL, default_user: str | None = None) -> tuple[str, Secret] | None:
    """Return the options `user` and `password`, or None if both are missing.

    Args:
        default_user: the user if only a password is given.

    Raises:
        ConfigError: one option is given without the other, or the password cannot be used.
    """
    user, password = url.take("user", None, str), take_secret(url, "password", str)
    if user is None and password is None:
        return None
    user = default_user if user is None else user
    if not user or password is None:
        raise ConfigError(f"{url}: a login has a user and a password", hint="add user=… and password_file=…")
    return user, password


def check_carried(
    url: RegistryURL,
    places: Iterable[tuple[str, int]],
    *,
    kind: str,
    is_encrypted: bool,
    advice: str = "add tls=true",
) -> None:
    """Refuse to send a secret over a plain connection beyond this machine, unless `allow_insecure=true` is given.

    Args:
        kind: the name of the secret for the error; "" if there is no secret.
        advice: how to ask for TLS in this URL.

    Raises:
        ConfigError: the secret would be sent in plain text.
    """
    is_allowed = url.take("allow_insecure", False, truth)
    if not kind or is_encrypted or is_allowed:
        return
    if not all(is_local(Address("tcp", host=host, port=port)) for host, port in places):
        raise ConfigError(
            f"{url}: its {kind} would travel in the clear",
            hint=f"{advice}, or allow_insecure=true on a network without other readers",
        )
