"""Tokens that prove the identity of a caller, as they are sent."""

from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = ["TOKEN_CHARACTERS", "checked_token"]

#: Longest token in characters: it has to fit into an AUTH frame, and into metadata.
TOKEN_CHARACTERS: Final = 8_000


def checked_token(token: Any) -> str:
    """Return a token that can be sent.

    Raises:
        TypeError: it is not text.
        ConfigError: the token is empty, too long, or has other characters than visible ASCII ones.
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
