"""The credentials of a client: a token, or a function that returns one."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError, ConnectError
from fastrpc.rpc.token import checked_token
from fastrpc.user_code import ContainedError, contained

__all__ = ["TOKEN_HINT", "ClientCredentials", "CredentialSource", "credentials_of"]

#: The hint if a server refused a call as unauthenticated, and the client has no credentials.
TOKEN_HINT: Final = "the client shows no token: give it one by credentials="  # noqa: S105

CredentialSource = str | Callable[[], Awaitable[str]] | Callable[[], str]


class ClientCredentials:
    """The credentials that a client shows to its servers.

    Args:
        source: a token, or a function that returns one.
        allows_plain: whether the credentials may be sent over plain TCP beyond loopback.
    """

    def __init__(self, source: CredentialSource, *, allows_plain: bool) -> None:
        self._source = source
        self._allows_plain = allows_plain

    @property
    def can_renew(self) -> bool:
        """Whether another token can be obtained before the current one expires."""
        return not isinstance(self._source, str)

    def check(self, address: Address) -> None:
        """Refuse an address to which the token would travel in the clear.

        Raises:
            ConfigError: the address is plain TCP beyond loopback.
        """
        if address.scheme == "tcp" and not self._allows_plain and not is_local(address):
            raise ConfigError(
                f"credentials would travel in the clear to {address}",
                hint="use a tls:// address, or write ClientConfig(allow_insecure_credentials=True)",
            )

    async def current(self, address: Address) -> bytes:
        """Return a token for a server.

        Raises:
            ConnectError: no credential is available, or the address is not safe for it.
        """
        self._check_dial(address)
        try:
            with contained("the function"):
                found: Any = self._source if isinstance(self._source, str) else self._source()
                if inspect.isawaitable(found):
                    found = await found
            return _encoded(found)
        except Exception as error:
            raise _failed(error) from None

    def current_blocking(self, address: Address) -> bytes:
        """Return a token for a server, without a loop. A function that waits for the token is refused.

        Raises:
            ConnectError: no credential is available, or the address is not safe for it.
        """
        self._check_dial(address)
        try:
            with contained("the function"):
                found: Any = self._source if isinstance(self._source, str) else self._source()
                if inspect.iscoroutine(found):
                    found = _stepped(found)
            return _encoded(found)
        except Exception as error:
            raise _failed(error) from None

    def _check_dial(self, address: Address) -> None:
        try:
            self.check(address)
        except ConfigError as error:
            raise ConnectError(error.message, hint=error.hint) from None

    def __repr__(self) -> str:
        # Without the token.
        return "<ClientCredentials>"


def credentials_of(source: Any, *, allows_plain: bool) -> ClientCredentials | None:
    """Return the credentials of a client.

    Raises:
        TypeError: the credentials are neither a token nor a function.
        ConfigError: the token cannot be sent.
    """
    if source is None:
        return None
    if isinstance(source, str):
        checked_token(source)
    elif isinstance(source, type) or not callable(source):
        raise TypeError(f"credentials is a {type(source).__name__}, it must be a token, or async () -> str")
    return ClientCredentials(source, allows_plain=allows_plain)


def _encoded(found: Any) -> bytes:
    if not isinstance(found, str):
        raise ConfigError(f"they are a {type(found).__name__}, a token must be text")
    return checked_token(found).encode()


def _stepped(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    coroutine.close()
    raise ConfigError(
        "their function awaited something, and a SyncClient has no event loop",
        hint="give it a plain function",
    )


def _failed(error: Exception) -> ConnectError:
    if isinstance(error, ConfigError):
        told, hint = error.message, error.hint or "give a token, or a function that returns one"
    else:
        # An error of another library may contain the token in its text.
        raised = error.__cause__ if isinstance(error, ContainedError) else error
        told, hint = (
            type(raised).__name__,
            "the function given as credentials raised this: call it to see why",
        )
    return ConnectError(f"cannot get the credentials: {told}", hint=hint)
