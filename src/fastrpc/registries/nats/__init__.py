"""NATS 2.11 and later: a bucket of JetStream's key-value store. Uses the package nats-py.

    connection  the client for an event loop, its options, error texts. Brokers use it too
    session     the loop and thread of a registry, the bucket
    keys        endpoints as keys: lookups, registrations

Options: `ttl` (15; seconds after which a key of a new bucket expires), `base` (`fastrpc`; the bucket), `manage`
(`true`: create a missing bucket), `user` with `password` or `password_file`, `token` or `token_file`, `creds_file`,
`allow_insecure`, and the options of TLS (`registries/base/urls.py`).
"""

import re

from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.urls import RegistryURL, truth, whole_seconds

__all__ = ["open_nats"]


def open_nats(url: RegistryURL) -> BackedRegistry:
    """Open `nats://host:port,host:port?creds_file=…`. The default port is 4222.

    Raises:
        ConfigError: an option is wrong, or nats-py is not installed.
    """
    url.package("nats.aio.client", "nats-py")
    from fastrpc.registries.nats.connection import take_access
    from fastrpc.registries.nats.keys import NatsKeys
    from fastrpc.registries.nats.session import BucketSession

    session = BucketSession(
        take_access(url),
        bucket=url.take("base", "fastrpc", _bucket),
        ttl_seconds=url.take("ttl", 15, whole_seconds),
        makes_bucket=url.take("manage", True, truth),
    )
    return BackedRegistry(NatsKeys(session), str(url), **url.take_shared())


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        raise ValueError("it must be letters, digits, `_` and `-`")
    return text
