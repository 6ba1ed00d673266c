"""NATS 2.11 and later, by a bucket of JetStream's key-value store; uses the package nats-py.

    session  the connection, its loop and thread, the bucket, errors
    keys     endpoints as keys: lookups, registrations

Options: `ttl` (15, seconds after which a key of a new bucket ends), `base` (`fastrpc`, the bucket), `manage` (`true`: a
missing bucket is made), `user` with `password` or `password_file`, `token` or `token_file`, `creds_file`,
`allow_insecure`, and those of TLS (`registries/base/urls.py`).
"""

import os
import re
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.secrets import check_carried, header_token, take_login, take_secret
from fastrpc.registries.base.urls import RegistryURL, truth, whole_seconds

__all__ = ["open_nats"]


def open_nats(url: RegistryURL) -> BackedRegistry:
    """Open `nats://host:port,host:port?creds_file=…`; without a port it is 4222.

    Raises:
        ConfigError: an option is wrong, or nats-py is not installed.
    """
    url.package("nats.aio.client", "nats-py")
    from fastrpc.registries.nats.keys import NatsKeys
    from fastrpc.registries.nats.session import BucketSession

    places, tls = url.places(4222), url.take_tls()
    login, token = take_login(url), take_secret(url, "token", header_token)
    creds_file = url.take("creds_file", None, os.path.expanduser)
    given = [
        name
        for name, one in (("user", login), ("token", token), ("creds_file", creds_file))
        if one is not None
    ]
    if len(given) > 1:
        raise ConfigError(f"{url}: the options {' and '.join(given)} are both given", hint="leave one out")
    # A login by `creds_file` signs a nonce: the secret stays here.
    check_carried(url, places, kind="login" if login or token else "", is_encrypted=tls is not None)

    def credentials() -> dict[str, Any]:
        if login is not None:
            return {"user": login[0], "password": login[1]()}
        if token is not None:
            return {"token": token()}
        return {} if creds_file is None else {"user_credentials": creds_file}

    session = BucketSession(
        places,
        tls=tls,
        credentials=credentials,
        bucket=url.take("base", "fastrpc", _bucket),
        ttl_seconds=url.take("ttl", 15, whole_seconds),
        makes_bucket=url.take("manage", True, truth),
    )
    return BackedRegistry(NatsKeys(session), str(url), **url.take_shared())


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        raise ValueError("it must be letters, digits, `_` and `-`")
    return text
