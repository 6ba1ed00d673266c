"""The part that `Services` and `SyncServices` share: verbs, and views with other options.

A verb finds the service of its method, and calls that service's client. `call` is compiled (`ServiceCalls`): it finds
the client once for each method, and then keeps the client's verb.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack, cast

from fastrpc.client.credentials import CredentialSource
from fastrpc.client.parts import OptionsCheck, checked_config
from fastrpc.client.refused_options import explain_options
from fastrpc.client.services.arguments import Arguments, service_of
from fastrpc.client.services.tenants import Tenants
from fastrpc.client.target import Target
from fastrpc.config import ClientConfig
from fastrpc.config_errors import ShownAtProgram
from fastrpc.failmodes.base import FailMode
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.options import CallOptions
from fastrpc.rpc.service import service_definition
from fastrpc.selectors.base import Selector

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption

    class _CallVerbs:
        """The verb `call` of a client, for type checkers."""

        # The verb `call` of the client of each method; always empty in a view.
        _calls: dict[Any, Callable[..., Any]]

else:
    from fastrpc._core.client.caller_view import ServiceCalls as _CallVerbs

__all__ = ["ManyServices", "verbs_of"]

C = TypeVar("C", bound=Any)
S = TypeVar("S")


#: All but `call`.
_VERBS = ("request", "notify", "call_many", "stream", "open", "broadcast", "fork")


def verbs_of(kind: type[Any]) -> type[Any]:
    """Return a class with the verbs of a client, each of which calls the client of the method's service."""
    return type("Verbs", (), {verb: _forwarding(verb, kind) for verb in _VERBS})


def _forwarding(verb: str, kind: type[Any]) -> Any:
    def forwarded(self: "ManyServices[Any]", method: Any, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._client_of(method), verb)(method, *args, **kwargs)

    forwarded.__name__, forwarded.__doc__ = verb, getattr(kind, verb).__doc__
    return forwarded


class ManyServices(_CallVerbs, Generic[C]):
    """The services of a registry, or a view of them with other options."""

    #: In a view, `_origin` is the services or the view from which it was made, and `_own_options` are its options.
    _origin: Self | None = None
    _own_options: CallOptions

    @explain_options
    def __init__(
        self,
        registry: "RegistryOption",
        *,
        names: Mapping[str, str] | None = None,
        idle_seconds: float | None = 600,
        selector: str | Callable[[], Selector] | None = None,
        fail_mode: str | FailMode | None = None,
        interceptors: Sequence[Interceptor] = (),
        credentials: CredentialSource | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        config = checked_config(config)
        given = Arguments(
            registry, names, idle_seconds, selector, fail_mode, interceptors, credentials, config
        )
        given.check(self._fail_mode_for)
        self._arguments = given
        self._tenants = Tenants(self._made, idle_seconds)
        self._check = OptionsCheck(Target((), given.registry), self._fail_mode_for, wire=config.wire_protocol)
        self._calls = self._tenants.calls
        self._begin(given)

    @staticmethod
    def _fail_mode_for(given: Any, /) -> FailMode:
        """Return the fail mode of a name or an object, for clients of this kind."""
        raise NotImplementedError

    def _begin(self, given: Arguments) -> None:
        """Open the registry."""
        raise NotImplementedError

    def _made(self, service: str) -> C:
        """Return a new client of a service."""
        raise NotImplementedError

    @property
    def _is_view(self) -> bool:
        return self._origin is not None

    def __getitem__(self, service: str, /) -> C:
        """Return the client of one service. If it was closed, the next use of the service makes a new client."""
        if self._origin is None:
            return self._tenants.client(service)
        client = self._origin[service]
        own = self._tenants.views.setdefault(self, {})
        known = own.get(service)
        if known is None or known[0] is not client:
            known = own[service] = client, client.with_options(**self._own_options)
        return known[1]

    # Services have names, not positions. Without this, Python would iterate by calling `__getitem__` with 0, 1, ….
    __iter__: ClassVar[None] = None

    def _client_of(self, method: Any) -> C:
        with ShownAtProgram(hides_block=True):
            service = service_of(method)
        return self[service]

    def _call_of(self, method: Any) -> Callable[..., Any]:
        client = self._client_of(method)
        call: Callable[..., Any] = client.call
        # Only the verb of the services themselves is cached, not the verb of a view. A method of an instance is not
        # used as a key, since it would keep the instance alive.
        if self._origin is None and not hasattr(method, "__self__"):
            self._calls[method] = call
            if self._client_of(method) is not client:
                # Another thread has closed the service meanwhile.
                self._calls.pop(method, None)
        return call

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a light view with other options for its calls, like `with_options` of a client."""
        with ShownAtProgram(hides_block=True):
            self._check(cast(dict[str, Any], options))
        view = type(self).__new__(type(self))
        vars(view).update(vars(self))
        view._become_view(self, options)
        return view

    def _become_view(self, origin: Self, options: CallOptions) -> None:
        self._origin, self._own_options, self._calls = origin, options, {}

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class, like `bind` of a client."""
        with ShownAtProgram(hides_block=True):
            service = service_definition(contract).name
        proxy: S = self[service].bind(contract)
        return proxy
