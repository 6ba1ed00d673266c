"""A marked method as a route of the gate: its parameter, and how messages are decoded."""

from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

from fastrpc._core.base.histogram import default_registry
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.payload.arguments import ArgumentShape
from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc.brokers.message import Message
from fastrpc.codecs.base import codec_number
from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.background.subscribing import MethodSubscription
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.faults import Faults
from fastrpc.rpc.method_options import MethodOptions
from fastrpc.rpc.schema.annotation import UNANNOTATED, Scope, evaluate, type_text
from fastrpc.rpc.signature import read_signature
from fastrpc.status import Status

__all__ = ["PROTOCOL", "SubscribedMethod"]

#: The protocol name of deliveries in metrics and logs.
PROTOCOL: Final = "messages"

#: A codec whose payload is a single value, which a function decodes.
_CODEC: Final = "protobuf"


class _MessageFaults(Faults):
    """The error rules for subscribers: the dead letter gets the text of an exception, as no caller sees it."""

    tells_unimplemented = False

    def status_of_crash(self, error: BaseException) -> Status:
        """Return the status for an exception that has no status."""
        return Status.INTERNAL

    def text_of_crash(self, error: BaseException) -> str:
        """Return the text of an exception."""
        return f"{type(error).__name__}: {error}"


_FAULTS: Final = _MessageFaults()


class SubscribedMethod:
    """One marked method of an instance.

    Args:
        cls: the class of the service; `names` are its names.
        attribute: the name of the method in the class.

    Raises:
        ConfigError: the type of its parameter is unknown, or differs from the type of the topic.
    """

    def __init__(
        self, cls: type[Any], names: ServiceNames, attribute: str, subscription: MethodSubscription
    ) -> None:
        self.subscription = subscription
        self.name = f"{names.name}.{attribute}"
        self._function = getattr(cls, attribute)
        self._signature = read_signature(self._function)
        self._parameter = self._signature.received()[0]
        #: `type`: the type of values. `takes_message`: the handler has a parameter `Message` instead of the value.
        self.type, self.takes_message = self._kinds(cls)
        self._options = (cls, names, attribute)

    @property
    def group(self) -> str | None:
        """The name of the group; None for a broadcast."""
        if self.subscription.is_broadcast:
            return None
        return self.name if self.subscription.group is None else self.subscription.group

    def route(
        self, handler: Callable[..., Any], decode: Callable[[bytes], Any], *, depth: int, items: int
    ) -> MethodRoute:
        """Return the route of the method. It has no name, so no client can call it.

        Args:
            decode: returns the argument of the handler from the body of the message whose call is being started.
        """
        cls, names, attribute = self._options
        # The topic has the type, so the annotations need not be resolved again.
        signature = self._signature.untyped()
        definition = MethodDefinition(
            cls, names, attribute, self._function, options=MethodOptions(attribute), signature=signature
        )
        definition.faults = _FAULTS
        shape = ArgumentShape((self._parameter.name,), (True,), _refuse, positional=1, positional_only=0)
        coders = PayloadCoders(
            _CODEC,
            codec_number(_CODEC),
            encode=(_drop,) * 3,
            decode=(None, _drop),
            exact=None,
            open=bytes,
            items=(decode,),
            scan=(None, None, None),
        )
        marshal = Marshal(self.name, shape, coders, depth=depth, items=items)
        counters = default_registry.counters(self.name, "server", PROTOCOL)
        timeout = self.subscription.timeout
        return MethodRoute(definition, marshal, counters, handler=handler, timeout=timeout)

    @property
    def runs_in_thread(self) -> bool:
        """True if the handler is a plain `def`."""
        return not self._signature.is_async

    def _kinds(self, cls: type[Any]) -> tuple[Any, bool]:
        """Return the type of the values, and whether the handler's parameter is a `Message` of this type."""
        topic = self.subscription.topic
        name, told = (topic, None) if isinstance(topic, str) else (topic.name, topic.type)
        annotation = self._parameter.annotation
        if annotation is UNANNOTATED:
            return told, False
        owner = next(
            (base for base in cls.__mro__ if self._function is vars(base).get(self._function.__name__)), cls
        )
        try:
            found = evaluate(annotation, Scope(self._function, owner))
        except NameError as error:
            raise ConfigError(
                f"{self.name}: the type of {self._parameter.name!r} is unknown: {error}",
                hint="import it in the module of the service, outside `if TYPE_CHECKING`",
            ) from None
        takes_message = found is Message or get_origin(found) is Message
        if takes_message:
            found = (get_args(found) or (Any,))[0]
        wanted = None if found is Any else found
        if told is not None and wanted is not None and told != wanted:
            raise ConfigError(
                f"{self.name} takes {type_text(wanted)}, but the topic {name!r} has {type_text(told)}",
                hint="write the type of the topic at the parameter",
            )
        return (wanted if told is None else told), takes_message


def _drop(value: Any) -> bytes:
    """Encode the result of a handler, which is discarded."""
    return b""


def _refuse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise TypeError("a message is one argument")
