"""The messages of a method: for the arguments, the result, and the messages of its streams."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import pascal_name
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.protobuf.annotations import UnfitTypeError, marks_of
from fastrpc.rpc.protobuf.derivation import Derivation, is_message_class
from fastrpc.rpc.protobuf.field import KNOWN_KINDS, FieldError
from fastrpc.rpc.protobuf.messages import EMPTY, ProtoMessage
from fastrpc.rpc.protobuf.names import check_fields
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.payload_classes import NOTHING, PayloadField

__all__ = ["MethodMessages", "check_field_options", "method_messages"]


class MethodMessages(NamedTuple):
    """The messages of a method."""

    arguments: ProtoMessage
    #: The message of the result, or of the stream that the server sends.
    result: ProtoMessage
    #: The message of the stream that the caller sends; None without a stream.
    message: ProtoMessage | None
    #: True if there is only one parameter and `arguments` is the message of this parameter.
    is_sole: bool

    @property
    def request(self) -> ProtoMessage:
        """The message that the caller sends, once or as a stream."""
        return self.arguments if self.message is None else self.message


def method_messages(definition: MethodDefinition, derivation: Derivation) -> MethodMessages:
    """Return the messages of a method.

    Raises:
        ConfigError: protobuf cannot express a type; the text names method, type and remedy.
        FieldError: a `Field` is invalid at its place.
    """
    types = definition.types()
    arguments, is_sole = _arguments(definition, derivation)
    message = None
    if definition.signature.stream is not None:
        if definition.parameters:
            raise ConfigError(
                f"{definition.label} takes a stream and {definition.parameters[0].name!r}, "
                "but gRPC allows only the stream",
                hint="send it as the first message of the stream, or as metadata",
            )
        place = f"parameter {definition.signature.stream.name!r}"
        message = _single(definition, derivation, types.message, place, "Request")
    result = _single(definition, derivation, types.result, "the result", "Response")
    return MethodMessages(arguments, result, message, is_sole)


def check_field_options(methods: Iterable[MethodDefinition]) -> None:
    """Refuse invalid `Field` settings of methods and their classes.

    Unknown types, and types that protobuf cannot express, are refused only on first use.

    Raises:
        FieldError: a number occurs twice, or a type cannot have the kind.
    """
    derivation = Derivation()
    for method in methods:
        try:
            method_messages(method, derivation)
        except FieldError:
            raise
        except Exception:  # noqa: S112 (the first use of the type tells it)
            continue


def _arguments(definition: MethodDefinition, derivation: Derivation) -> tuple[ProtoMessage, bool]:
    kinds = definition.types().parameters
    known = _known_message(kinds[0]) if len(kinds) == 1 else None
    if known is not None:
        return known, True
    if len(kinds) == 1 and definition.parameters[0].is_required:
        place = f"parameter {definition.parameters[0].name!r}"
        whole = _whole(definition, derivation, kinds[0], place)
        if whole is not None:
            return whole, True
    found = ProtoMessage(f"{pascal_name(definition.name)}Request", "arguments")
    found.has_row = all(parameter.by_position for parameter in definition.parameters)
    for at, (parameter, kind) in enumerate(zip(definition.parameters, kinds, strict=True)):
        field = PayloadField(
            parameter.name,
            parameter.name,
            kind,
            parameter.is_required,
            NOTHING if parameter.is_required else parameter.default,
        )
        try:
            key = at if parameter.by_position else parameter.name
            found.fields.append(derivation.field(field, at + 1, key=key))
        except UnfitTypeError as error:
            raise _unfit(definition, f"parameter {parameter.name!r}", kind, error) from None
        except FieldError as error:
            raise FieldError(f"{definition.label}: parameter {parameter.name!r}: {error}") from None
    try:
        check_fields(found)
    except UnfitTypeError as error:
        raise ConfigError(f"{definition.label}: {error.reason}", hint=error.hint) from None
    except FieldError as error:
        raise FieldError(f"{definition.label}: {error}") from None
    return found, False


def _single(
    definition: MethodDefinition, derivation: Derivation, kind: Any, place: str, suffix: str
) -> ProtoMessage:
    """Return the message of a result, or of one message of a stream."""
    if kind is None or kind is type(None):
        return EMPTY
    known = _known_message(kind)
    if known is not None:
        return known
    whole = _whole(definition, derivation, kind, place)
    if whole is not None:
        return whole
    found = ProtoMessage(f"{pascal_name(definition.name)}{suffix}", "value")
    try:
        found.fields = [derivation.field(PayloadField("value", "value", kind, True), 1)]
    except UnfitTypeError as error:
        raise _unfit(definition, place, kind, error) from None
    return found


def _known_message(kind: Any) -> ProtoMessage | None:
    """Return the message of a class that protobuf has generated; None for any other type."""
    descriptor: Any = getattr(kind, "DESCRIPTOR", None)
    if not isinstance(kind, type) or not hasattr(descriptor, "full_name") or not hasattr(kind, "FromString"):
        return None
    found = ProtoMessage(kind.__name__, "nothing", kind)
    found.set_elsewhere(str(descriptor.full_name), str(descriptor.file.name))
    return found


def _whole(
    definition: MethodDefinition, derivation: Derivation, kind: Any, place: str
) -> ProtoMessage | None:
    """Return the message of a type; None if the type has to be a field of a message."""
    marks = marks_of(kind)
    try:
        if is_message_class(kind):
            return derivation.message(kind)
        if marks is None or marks.kind not in KNOWN_KINDS:
            return None
        part = derivation.part(kind)
    except UnfitTypeError as error:
        raise _unfit(definition, place, kind, error) from None
    return part.message if part.shape == "single" and not part.takes_none else None


def _unfit(definition: MethodDefinition, place: str, kind: Any, error: UnfitTypeError) -> ConfigError:
    return ConfigError(
        f"{definition.label}: {place} is {type_text(kind)}, which protobuf cannot carry: {error.reason}",
        hint=error.hint,
    )
