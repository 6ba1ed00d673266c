"""pydantic models travel as the map of `model_dump(by_alias=True)` and are validated on arrival."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pydantic

from fastrpc.types.base import Inner, ModelField, PayloadType, with_arrays

__all__ = ["key_converter", "payload_type"]

#: Errors of one model that are named; the rest is counted.
MOST_ERRORS = 4


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a model, or of a value that a model holds; None for models of pydantic 1."""
    if issubclass(cls, pydantic.BaseModel):
        return _MODEL
    return _URL if hasattr(cls, "unicode_string") else None


def key_converter(kind: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """Return the function by which pydantic converts plain values to keys of this type in a model."""
    items: Any = list.__class_getitem__(kind)
    adapter = pydantic.TypeAdapter(items, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    return adapter.validate_python


def _encode(model: pydantic.BaseModel, codec: str) -> Any:
    return model.model_dump(by_alias=True)


def _decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    def convert(plain: Any) -> Any:
        try:
            return annotation.model_validate(with_arrays(plain))
        except pydantic.ValidationError as error:
            raise ValueError(_described(error)) from None

    return convert


def _fields(cls: Any) -> list[ModelField]:
    return [
        ModelField(
            name,
            # The payload of a root model is that of its one field.
            None if issubclass(cls, pydantic.RootModel) else _wire_name(name, field),
            _annotation(field),
            field.is_required(),
            field.default,
            field.default_factory,
        )
        for name, field in cls.model_fields.items()
    ]


def _annotation(field: Any) -> Any:
    """Return the annotation of a field as it was written, with metadata that is not pydantic's."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _wire_name(name: str, field: Any) -> str | None:
    taken, given = field.validation_alias or name, field.serialization_alias or name
    return given if taken == given else None


def _described(error: pydantic.ValidationError) -> str:
    """Return the errors in the form of msgspec: the place of the first stands at the end."""
    found = [(_place(one["loc"]), one["msg"]) for one in error.errors(include_url=False, include_input=False)]
    place, text = found[0]
    more = [f"{where.lstrip('.') or 'the model'}: {reason}" for where, reason in found[1:MOST_ERRORS]]
    if len(found) > MOST_ERRORS:
        more.append(f"{len(found) - MOST_ERRORS} more")
    if more:
        text += f" (also {'; '.join(more)})"
    return f"{text} - at `${place}`"


def _place(location: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _encode_url(url: Any, codec: str) -> Any:
    return url.unicode_string()


def _url_decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    raise TypeError(f"{annotation.__name__} is validated inside a model only: write a model, or `str`")


def _schema(annotation: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = annotation.model_json_schema(by_alias=True)
    except pydantic.errors.PydanticInvalidForJsonSchema:  # it has a field that pydantic takes as it is
        return {"title": annotation.__name__}
    return found


_MODEL = PayloadType(_encode, _decoder, fields=_fields, may_hold_arrays=True, schema=_schema)
_URL = PayloadType(_encode_url, _url_decoder)
