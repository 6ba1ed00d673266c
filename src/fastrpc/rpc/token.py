"""Checks of tokens, which prove the identity of a caller, before they are sent."""

from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = ["TOKEN_CHARACTERS", "checked_token"]

#: The most characters of a token, which must fit into an AUTH frame and into metadata.
TOKEN_CHARACTERS: Final = 8_000


def checked_token(token: Any) -> str:
    """Return a token after checking that it can be sent.

    Raises:
        TypeError: the token is not text.
        ConfigError: the token is empty, too long, or has characters other than visible ASCII.
    """
    if not isinstance(token, str):
        raise TypeError(f"a token is a {type(token).__name__}, it must be text")
    if not token:
        raise ConfigError("a token is empty")
    if len(token) > TOKEN_CHARACTERS:
        raise ConfigError(f"a token has {len(token):,} characters, the limit is {TOKEN_CHARACTERS:,}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("a token has a character that is not visible ASCII, such as a space or a line feed")
    return token
