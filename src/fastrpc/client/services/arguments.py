"""The arguments of `Services` and `SyncServices`, and the service that a method belongs to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastrpc.client.parts import client_credentials
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.config.validation import check_timeout
from fastrpc.errors import ConfigError
from fastrpc.failmodes.base import FailMode
from fastrpc.rpc.interceptor import checked_interceptors
from fastrpc.rpc.service import method_definition
from fastrpc.selectors.base import Selector, selector_for

__all__ = ["Arguments", "service_of"]


class Arguments(NamedTuple):
    """The arguments of a constructor."""

    registry: Any
    names: Mapping[str, str] | None
    idle_seconds: float | None
    selector: str | Callable[[], Selector] | None
    fail_mode: str | FailMode | None
    interceptors: Sequence[Any]
    credentials: Any
    config: ClientConfig

    def check(self, fail_mode_for: Callable[[Any], FailMode]) -> None:
        """Check all arguments that can be checked without a service.

        Raises:
            ConfigError: an argument is invalid.
            TypeError: the credentials are neither a token nor a function.
        """
        if self.registry is None:
            raise ConfigError(
                "registry is None, and services are found in a registry",
                hint="give its URL, such as consul://127.0.0.1:8500, or an object of fastrpc.registries",
            )
        _check_names(self.names)
        check_timeout(self.idle_seconds, name="idle_seconds")
        _check_selector(self.selector)
        if self.fail_mode is not None:
            fail_mode_for(self.fail_mode)
        checked_interceptors(self.interceptors)
        client_credentials(self.credentials, self.config, Target(()))

    def of_client(self, service: str) -> dict[str, Any]:
        """Return the arguments of the client of one service, without the registry."""
        same = ("fail_mode", "interceptors", "credentials", "config")
        return {name: getattr(self, name) for name in same} | {
            "target": (self.names or {}).get(service, service),
            "selector": self.selector() if callable(self.selector) else self.selector,
        }


def _check_names(names: Any) -> None:
    texts = [text for pair in names.items() for text in pair] if isinstance(names, Mapping) else [None]
    if names is not None and not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(
            f"names is {names!r}, it must map services to their names in the registry",
            hint="write names={'shop.orders': 'orders-svc'}",
        )


def _check_selector(selector: Any) -> None:
    if selector is None or isinstance(selector, str):
        selector_for(selector)
    elif not callable(selector):
        raise ConfigError(
            f"selector is {selector!r}, and one selector serves one service",
            hint="give a name, or a function that makes a selector: selector=lambda: LeastLoaded(…)",
        )


def service_of(method: Any) -> str:
    """Return the service of a method: the service of its class, or the part of its name before the last dot.

    Raises:
        ConfigError: the name has no service.
        TypeError: the function is not a remote method.
    """
    if not isinstance(method, str):
        return method_definition(method).service
    service, _, name = method.rpartition(".")
    if not service or not name:
        raise ConfigError(f"{method!r} is not a method name", hint="write it as service.method")
    return service
