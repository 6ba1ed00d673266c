"""pydantic models are sent as the map of `model_dump(by_alias=True)` and validated by the receiver."""

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Final, get_args

import pydantic
from pydantic_core import core_schema, to_jsonable_python

from fastrpc.types.base import (
    Inner,
    Mistake,
    MistakesError,
    ModelField,
    ModelKeys,
    PayloadType,
    with_arrays,
)

__all__ = ["key_converter", "payload_type"]

#: The most errors of one model that the text of a refusal names; further errors are counted.
MOST_ERRORS = 4
#: The most errors of one model that are read: pydantic makes one per mistake of a peer, in microseconds each.
MOST_READ = 1_000

#: Errors whose texts are pydantic's own. The text of a program's validator may contain the value.
_FORMS: Final = frozenset(get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"}
#: Parts of pydantic's texts that are taken from the value.
_FROM_VALUE: Final = frozenset({"error", "encoding_error", "tz_actual"})
#: The end of pydantic's texts that quotes the value.
_FOUND: Final = re.compile(", (got|unable to) .*")
_TYPES: Final[dict[type[Any], str]] = {
    **{kind: kind.__name__ for kind in (bool, int, float, str, bytes)},
    NoneType: "null",
    dict: "object",
    list: "array",
}


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a model, or of a value inside a model; None for models of pydantic 1."""
    if issubclass(cls, pydantic.BaseModel):
        return _MODEL
    return _URL if hasattr(cls, "unicode_string") else None


def key_converter(kind: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that converts plain values to keys of this type as pydantic does in a model."""
    items: Any = list.__class_getitem__(kind)
    adapter = pydantic.TypeAdapter(items, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    return adapter.validate_python


def _encode(model: pydantic.BaseModel, codec: str) -> Any:
    plain = model.model_dump(by_alias=True)
    if codec != "json" or not _has_bytes(plain):
        return plain
    # Only texts are taken from this dump. msgspec encodes the other values, and refuses values that JSON cannot
    # represent.
    return _with_texts(plain, to_jsonable_python(model, by_alias=True, serialize_unknown=True))


def _has_bytes(plain: Any) -> bool:
    if isinstance(plain, dict):
        return any(_has_bytes(part) for item in plain.items() for part in item)
    if isinstance(plain, list | tuple | set | frozenset):
        return any(map(_has_bytes, plain))
    return isinstance(plain, bytes | bytearray)


def _with_texts(plain: Any, texts: Any) -> Any:
    """Replace bytes in a dump by their text in the JSON dump, which the model decodes by the same rule."""
    if not _has_bytes(plain):
        return plain
    is_alike = isinstance(texts, dict if isinstance(plain, dict) else list) and len(plain) == len(texts)
    if is_alike and isinstance(plain, dict):
        return {
            text_key if isinstance(key, bytes) else key: _with_texts(part, text)
            for (key, part), (text_key, text) in zip(plain.items(), texts.items(), strict=True)
        }
    if is_alike and isinstance(plain, list | tuple):
        return [_with_texts(part, text) for part, text in zip(plain, texts, strict=True)]
    return texts


def _decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    def convert(plain: Any) -> Any:
        given = with_arrays(plain)
        try:
            return annotation.model_validate(given)
        except pydantic.ValidationError as error:
            if error.error_count() > MOST_READ:
                raise ValueError(f"it has {error.error_count()} mistakes") from None
            mistakes = [_mistake(annotation, given, one) for one in error.errors(include_url=False)]
            raise MistakesError(_described(mistakes), mistakes) from None

    return convert


def _fields(cls: Any) -> list[ModelField]:
    return [
        ModelField(
            name,
            # The payload of a root model is the payload of its only field.
            None if issubclass(cls, pydantic.RootModel) else _wire_name(name, field),
            _annotation(field),
            field.is_required(),
            field.default,
            field.default_factory,
        )
        for name, field in cls.model_fields.items()
    ]


def _keys(cls: Any) -> ModelKeys | None:
    if issubclass(cls, pydantic.RootModel):
        return None
    types: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        for path in _taken_paths(cls.model_config, name, field):
            # The value under the first key of a longer path may contain other fields, too.
            types[str(path[0])] = field.annotation if len(path) == 1 else Any
    validators = cls.__pydantic_decorators__.model_validators.values()
    # A validator that runs before the fields may read other keys.
    reads_others = any(one.info.mode in {"before", "wrap"} for one in validators)
    return ModelKeys(types, reads_others or cls.model_config.get("extra") == "allow")


def _taken_paths(config: Any, name: str, field: Any) -> list[list[str | int]]:
    """Return the paths in a payload from which a field is read."""
    alias = field.validation_alias
    if alias is None or config.get("validate_by_alias") is False:
        return [[name]]
    choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
    paths = [one.path if isinstance(one, pydantic.AliasPath) else [one] for one in choices]
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*paths, [name]] if by_name else paths


def _annotation(field: Any) -> Any:
    """Return the annotation of a field as the program wrote it, with metadata that is not pydantic's."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _wire_name(name: str, field: Any) -> str | None:
    taken, given = field.validation_alias or name, field.serialization_alias or name
    return given if taken == given else None


def _described(mistakes: Sequence[Mistake]) -> str:
    """Return mistakes as text in msgspec's form, with the path of the first mistake at the end."""
    first = mistakes[0]
    more = [f"{one.place.lstrip('.') or 'the model'}: {one.reason}" for one in mistakes[1:MOST_ERRORS]]
    if len(mistakes) > MOST_ERRORS:
        more.append(f"{len(mistakes) - MOST_ERRORS} more")
    also = f" (also {'; '.join(more)})" if more else ""
    return f"{first.reason}{also} - at `${first.place}`"


def _mistake(cls: Any, given: Any, error: Any) -> Mistake:
    """Convert an error of a model to a mistake in the given value."""
    kind, place, reason = error["type"], _place(cls, given, error), _reason(error)
    if kind == "missing":
        return Mistake(place, reason, "a value", "nothing")
    expected = "another value"
    if kind == "extra_forbidden":
        expected = "nothing"
    elif kind in _FORMS:
        expected = _FOUND.sub("", reason.removeprefix("Input should be "))
    return Mistake(place, reason, expected, _TYPES.get(type(error["input"]), "ext"))


def _reason(error: Any) -> str:
    """Return the text of an error without the parts that quote the value."""
    kind, text, facts = error["type"], error["msg"], error.get("ctx", {})
    if kind == "union_tag_invalid":
        return f"Input should be one of {facts['expected_tags']} by its {facts['discriminator']}"
    if kind in _FORMS and not _FROM_VALUE.isdisjoint(facts):
        return re.split(", |: ", text, maxsplit=1)[0]
    return str(text)


def _place(cls: Any, given: Any, error: Any) -> str:
    """Return the path of an error. It contains names of fields, but no keys of maps, which are data."""
    place, value, left = "", given, len(error["loc"])
    for part in error["loc"]:
        left -= 1
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            place, value = f"{place}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            is_name = part in _names(cls) or (error["type"] == "extra_forbidden" and not left)
            place, value = f"{place}.{part}" if is_name else f"{place}[...]", value[part]
        elif error["type"] == "missing" and not left:
            place += f"[{part}]" if isinstance(part, int) else f".{part}"
        # Other parts are the names of union members and functions.
    return place


@cache
def _names(cls: Any) -> frozenset[str]:
    """Return the names of fields that a model, and the types inside it, accept."""
    found: set[str] = set()
    waiting: list[tuple[Any, bool]] = [(cls.__pydantic_core_schema__, False)]
    while waiting:
        part, is_name = waiting.pop()
        if isinstance(part, dict):
            fields = part.get("fields")
            found.update(fields if isinstance(fields, dict) else ())
            waiting += [(inner, key in {"name", "validation_alias"}) for key, inner in part.items()]
        elif isinstance(part, list):
            waiting += [(inner, is_name) for inner in part]
        elif is_name and isinstance(part, str):
            found.add(part)
    return frozenset(found)


def _encode_url(url: Any, codec: str) -> Any:
    return url.unicode_string()


def _url_decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    raise TypeError(f"{annotation.__name__} is validated inside a model only: write a model, or `str`")


@cache
def _schema(cls: Any, mode: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = cls.model_json_schema(by_alias=True, mode=mode)
    except (
        pydantic.errors.PydanticInvalidForJsonSchema
    ):  # it has a field that pydantic accepts without validation
        return {"title": cls.__name__}
    return found


_MODEL = PayloadType(
    _encode,
    _decoder,
    fields=_fields,
    keys=_keys,
    may_hold_arrays=True,
    schema=partial(_schema, mode="validation"),
    # Sent values have computed fields, but not excluded fields.
    sent_schema=partial(_schema, mode="serialization"),
)
_URL = PayloadType(_encode_url, _url_decoder)
