"""Create clients of hosted services from URLs: `store://host:port`, `broker://host:port`."""

from fastrpc.client.client import Client
from fastrpc.client.credentials import CredentialSource
from fastrpc.client.inside import dial_for_calls
from fastrpc.config import Backoff, ClientConfig, Keepalive, Limits, Timeouts
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.registries.base.secrets import check_carried, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.rpc.token import checked_token

__all__ = ["hosted_client"]


def hosted_client(
    url: RegistryURL,
    credentials: CredentialSource | None,
    *,
    service: str,
    contents: str,
    timeouts: Timeouts,
    message_bytes: int,
) -> Client:
    """Return a client, which is not entered yet, for the hosted service at a URL. Remove the options from `url`.

    Args:
        service, contents: words for error texts, such as "store" and "other keys".

    Raises:
        ConfigError: an option is wrong, or a token would be sent in plain text.
    """
    tls = url.take_tls()
    places = url.places(None)
    if url.path:
        raise ConfigError(f"{url} is more than a {service}", hint=f"leave /{url.path} out")
    if len(places) > 1:
        raise ConfigError(
            f"{url} names several {service}s, and each has {contents}", hint="give the URL of one server"
        )
    token = take_secret(url, "token", checked_token)
    if token is not None and credentials is not None:
        raise ConfigError(f"{url} has a token, and credentials are given", hint="leave one out")
    shown = token or credentials
    check_carried(url, places, kind="token" if shown else "", is_encrypted=tls is not None)
    url.refuse_unread()
    addresses = [Address("tcp" if tls is None else "tls", host=host, port=port) for host, port in places]
    config = ClientConfig(
        timeouts=timeouts,
        # `Verbs` pauses between attempts: another long backoff must not add to that.
        backoff=Backoff(first=0.05, longest=0.2),
        keepalive=Keepalive(interval=2.0, timeout=2.0),
        limits=Limits(message_bytes=message_bytes),
        tls=tls,
        # This is safe: the check of the URL allows plain text to another machine only with `allow_insecure`.
        allow_insecure_credentials=True,
    )
    client = Client(addresses, credentials=shown, fail_mode="failfast", config=config)
    dial_for_calls(client)
    return client
