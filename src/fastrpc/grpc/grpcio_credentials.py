"""Check credentials. Objects of grpcio are refused, as they hide their contents; the error names a replacement."""

from typing import Any

from fastrpc.config import TLS

__all__ = ["checked_credentials", "checked_tls"]


def checked_tls(tls: Any) -> TLS:
    """Return the certificates of a channel or a port.

    Raises:
        TypeError: the certificates are not a `fastrpc.TLS`.
    """
    if isinstance(tls, TLS):
        return tls
    given = "None" if tls is None else f"a {type(tls).__name__}, which hides its contents"
    raise TypeError(
        f"the credentials are {given}: give a fastrpc.TLS, "
        "such as TLS(ca_file=…) for a channel and TLS(cert_file=…, key_file=…) for a server"
    )


def checked_credentials(credentials: Any, *, of_call: bool = False) -> Any:
    """Return the credentials of a channel: a token, or a function that returns one.

    Raises:
        TypeError: the credentials are an object of grpcio, or credentials for one call.
    """
    if credentials is None:
        return None
    if of_call:
        raise TypeError(
            "a call cannot have its own credentials here: give credentials= to the channel, a token or a function, "
            'or metadata=(("authorization", "Bearer …"),)'
        )
    if isinstance(credentials, str) or callable(credentials):
        return credentials
    raise TypeError(
        f"the credentials are a {type(credentials).__name__}, which hides its contents: give a token, "
        "or a function that returns one"
    )
