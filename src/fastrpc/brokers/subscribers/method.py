"""A marked method for the gate: its parameter, its route, and the marshal that decodes messages."""

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

#: The name under which deliveries are counted.
PROTOCOL: Final = "messages"

#: The codec whose payload is one value, decoded by a function.
_CODEC: Final = "protobuf"


class _MessageFaults(Faults):
    """The rules for subscribers: the text of an exception stays in the broker, with the dead letter."""

    tells_unimplemented = False

    def status_of_crash(self, error: BaseException) -> Status:
        """Return the status for an exception that is not an answer."""
        return Status.INTERNAL

    def text_of_crash(self, error: BaseException) -> str:
        """Return the text of an exception."""
        return f"{type(error).__name__}: {error}"


_FAULTS: Final = _MessageFaults()


class SubscribedMethod:
    """One marked method of an instance.

    Args:
        cls: the class of the service, and its names.
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
        #: The type of values, and whether the handler takes the message around it.
        self.type, self.takes_message = self._kinds(cls)
        self._options = (cls, names, attribute)

    @property
    def group(self) -> str | None:
        """The group, None for a broadcast."""
        if self.subscription.is_broadcast:
            return None
        return self.name if self.subscription.group is None else self.subscription.group

    def route(
        self, handler: Callable[..., Any], decode: Callable[[bytes], Any], *, depth: int, items: int
    ) -> MethodRoute:
        """Return the route of the method, to which no name leads.

        Args:
            decode: returns the argument of the handler, for the body of the message that is started now.
        """
        cls, names, attribute = self._options
        # The topic has the types, so no name in the annotations is looked up again.
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
        """Whether the handler is a `def`."""
        return not self._signature.is_async

    def _kinds(self, cls: type[Any]) -> tuple[Any, bool]:
        """Return the type of the values, and whether the handler takes a `Message` of it."""
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
                f"{self.name} takes {type_text(wanted)}, the topic {name!r} has {type_text(told)}",
                hint="write the type of the topic at the parameter",
            )
        return (wanted if told is None else told), takes_message


def _drop(value: Any) -> bytes:
    """Encode the result of a handler, which is discarded."""
    return b""


def _refuse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise TypeError("a message is one argument")
