"""The parts of a schema that no class can express. Each becomes a comment near the class, and a warning."""

from collections.abc import Iterator
from typing import Any, Final

from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.layout import comment_lines
from fastrpc.rpc.protobuf.messages import KINDS, ProtoField

__all__ = ["Lost", "deprecation", "is_group"]

#: google.protobuf.FieldDescriptorProto.Type and Label.
_GROUP: Final = 10
_REQUIRED: Final = 2


class Lost:
    """Collects the parts of a schema that no class can express."""

    def __init__(self, files: ProtoFiles) -> None:
        self._files = files
        self._classes: dict[str, Any] = {}
        self.warnings: list[str] = []

    def note(self, place: str, text: str, indent: int) -> list[str]:
        """Return a comment, and record its text as a warning."""
        self.warnings.append(f"{place}: {text}")
        return comment_lines(f"Not in this module: {text}", indent)

    def options(self, place: str, options: Any, indent: int) -> list[str]:
        """Return comments on custom options, which a file defines."""
        return [line for text in self._custom(options) for line in self.note(place, f"option {text}", indent)]

    def message(self, descriptor: Any, indent: int) -> list[str]:
        """Return comments on a message, except comments on its fields."""
        place, proto = descriptor.full_name, self._files.part(descriptor.full_name).proto
        lines = self.options(place, proto.options, indent)
        if proto.extension_range:
            lines += self.note(place, f"extensions {_ranges(proto.extension_range)}", indent)
        for extension in descriptor.extensions:
            lines += self.extension(extension, indent)
        for field in descriptor.fields:
            if is_group(field):
                lines += self.note(
                    f"{place}.{field.name}", f"the group {field.name} = {field.number}", indent
                )
        names: dict[str, str] = {}
        for field in descriptor.fields:
            other = names.setdefault(_json_name(field), field.name)
            if other != field.name:
                text = f"{other} and {field.name} are one name in JSON, so that no method takes the message"
                lines += self.note(f"{place}.{field.name}", text, indent)
        for oneof in proto.oneof_decl:
            lines += self.options(f"{place}.{oneof.name}", oneof.options, indent)
        return lines

    def extension(self, field: Any, indent: int) -> list[str]:
        """Return the comment on an extension of a message."""
        text = f"extend {field.containing_type.full_name} {{ {field.name} = {field.number} }}"
        return self.note(field.full_name, text, indent)

    def field(self, field: Any, indent: int) -> list[str]:
        """Return comments on a field."""
        proto = self._files.part(field.full_name).proto
        lines = self.options(field.full_name, proto.options, indent)
        if _is_required(field):
            lines += self.note(field.full_name, "required", indent)
        if proto.json_name and proto.json_name != _json_name(field):
            lines += self.note(field.full_name, f'json_name = "{proto.json_name}"', indent)
        return lines

    def _custom(self, options: Any) -> Iterator[str]:
        """Yield the options that protobuf does not define, as a file writes them."""
        if not options.ByteSize():
            return
        from google.protobuf import text_format
        from google.protobuf.unknown_fields import UnknownFieldSet

        known = options
        try:
            descriptor = self._files.pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        except KeyError:
            descriptor = None
        if descriptor is not None:
            known = self._class(descriptor).FromString(options.SerializeToString())
        for field, value in known.ListFields():
            if field.is_extension:
                many = value if hasattr(value, "append") else [value]
                for one in many:
                    yield f"({field.full_name}) = {_value(field, one, text_format)}"
        for one in UnknownFieldSet(known):
            yield f"{one.field_number}"

    def _class(self, descriptor: Any) -> Any:
        from google.protobuf.message_factory import GetMessageClass

        return self._classes.setdefault(descriptor.full_name, GetMessageClass(descriptor))


def deprecation(options: Any, indent: int) -> list[str]:
    """Return the comment on a deprecated part."""
    return comment_lines("Deprecated.", indent, "#") if options.deprecated else []


def is_group(field: Any) -> bool:
    """Return whether a field is a group, which is delimited by an end tag instead of a length."""
    return bool(field.type == _GROUP)


def _json_name(field: Any) -> str:
    """Return the JSON name that a class gives to a field."""
    return ProtoField(field.name, 1, "bool").json_name


def _is_required(field: Any) -> bool:
    # Later versions of the library have `is_required` instead of `label`.
    return bool(field.is_required if hasattr(field, "is_required") else field.label == _REQUIRED)


def _value(field: Any, value: Any, text_format: Any) -> str:
    if field.message_type is not None:
        return f"{{ {text_format.MessageToString(value, as_one_line=True)} }}"
    if field.type == KINDS["enum"]:
        found = field.enum_type.values_by_number.get(value)
        return str(value) if found is None else str(found.name)
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f'"{text_format.text_encoding.CEscape(value, False)}"'
        if isinstance(value, str | bytes)
        else str(value)
    )


def _ranges(ranges: Any) -> str:
    return ", ".join(
        str(one.start) if one.end == one.start + 1 else f"{one.start} to {one.end - 1}" for one in ranges
    )
