"""Kubernetes 1.21 and later: clients follow the EndpointSlices of a Service. No package is needed.

    api     requests to the apiserver: pages, watches, tokens
    slices  the endpoints of slices that may be called, and their addresses
    lookup  the endpoints of services: reads a list page by page, then opens a watch

In a pod, environment variables name the apiserver, and the service account provides token and CA. Options: `server`
(another apiserver), `token` or `token_file`, which is read again when it changes, `allow_insecure`, and the options of
TLS (`registries/base/urls.py`); `port` (name or number), `scheme` (`tcp` or `tls`), `family` (`ipv4` or `ipv6`, for
pods that have both addresses).
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.secrets import check_carried, header_token, take_secret
from fastrpc.registries.base.urls import RegistryURL, one_of
from fastrpc.registries.kubernetes.api import ApiAccess
from fastrpc.registries.kubernetes.lookup import KubernetesSlices
from fastrpc.registries.kubernetes.slices import DNS_LABEL, Reading

__all__ = ["open_kubernetes"]

#: The folder of the service account in a pod.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_PORTS = {"https": 443, "http": 80}


def open_kubernetes(url: RegistryURL) -> BackedRegistry:
    """Open `kubernetes://NAMESPACE`; the default is the pod's namespace.

    Raises:
        ConfigError: an option is wrong, or there is neither a service account nor `server`.
    """
    server = url.take("server", None, str)
    account = SERVICE_ACCOUNT if server is None else None
    scheme, host, port, base = _own_server(url) if server is None else _server(url, server)
    token = take_secret(
        url, "token", header_token, default_file=None if account is None else str(account / "token")
    )
    tls = url.take_tls(scheme, ca_file=None if account is None else str(account / "ca.crt"))
    kind, is_encrypted = "token" if token else "", tls is not None
    check_carried(url, [(host, port)], kind=kind, is_encrypted=is_encrypted, advice="write https://")
    access = ApiAccess((host, port), _namespace(url, account), base=base, tls=tls, token=token)
    reading = Reading(
        port=url.take("port", "", _port),
        scheme=url.take("scheme", "", one_of("tcp", "tls")),
        family=url.take("family", "ipv4", one_of("ipv4", "ipv6")),
    )
    return BackedRegistry(KubernetesSlices(access, reading), str(url), **url.take_shared())


def _own_server(url: RegistryURL) -> tuple[str, str, int, str]:
    """Return the apiserver of this pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"{url}: this program is in no pod of Kubernetes: KUBERNETES_SERVICE_HOST is not set",
            hint="add server=https://host:6443 with token_file and ca_file",
        )
    return "https", host, int(port), ""


def _server(url: RegistryURL, text: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of an apiserver."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in _PORTS or "@" in parts.netloc or parts.query:
        # The text is omitted: it may contain a password.
        raise ConfigError(
            f"{url}: the option server is not the address of an apiserver",
            hint="write server=https://host:6443, or server=http://127.0.0.1:8001 for `kubectl proxy`",
        )
    return parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/")


def _namespace(url: RegistryURL, account: Path | None) -> str:
    namespace = url.place
    if not namespace:
        if account is None:
            raise ConfigError(f"{url} names no namespace", hint="write kubernetes://NAMESPACE")
        try:
            namespace = (account / "namespace").read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{url}: the namespace of this pod cannot be read: {error}",
                hint="write kubernetes://NAMESPACE",
            ) from None
    if not DNS_LABEL.fullmatch(namespace):
        raise ConfigError(f"{url}: {namespace!r} is not a namespace", hint="write kubernetes://NAMESPACE")
    return namespace


def _port(text: str) -> str:
    is_number = text.isdecimal()
    if not (0 < int(text) < 65_536 if is_number else re.fullmatch(r"[a-z0-9-]{1,15}", text)):
        raise ValueError("it must be the name or the number of a port")
    return text
