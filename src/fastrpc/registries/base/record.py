"""The record of an endpoint in a registry, as JSON or as a flat table of texts.

::

    {"v": 1, "address": "tcp://10.0.0.7:8972", "weight": 2, "zone": "eu-1a", "version": "1.4",
     "labels": {"group": "blue"}, "protocols": ["native"]}

Records come from other programs. Parsing is strict: a record is refused if it has an unknown format, a wrong type, or a
text that is too long or unprintable. Keys that format 1 does not define are ignored, so that the format can grow;
`codecs`, which earlier versions wrote, is ignored as well.

Records are flat in Consul, where people and other programs read them, and JSON in the embedded registry and in cache
files. One strict parser reads both forms. The policy checks addresses before they are published.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from fastrpc.endpoint import GREATEST_WEIGHT, Address, Endpoint
from fastrpc.errors import ConfigError

__all__ = [
    "RECORD_BYTES",
    "RECORD_FORMAT",
    "RecordError",
    "decode_record",
    "encode_record",
    "read_texts",
    "to_texts",
]

#: The format that is written, and the only format that is read.
RECORD_FORMAT = 1

#: The largest record in bytes. The largest record within the limits below slightly exceeds Consul's limit.
RECORD_BYTES = 65_536

_Name = Annotated[str, msgspec.Meta(max_length=128)]
_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Names = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=32)]


class RecordError(ValueError):
    """A record cannot be parsed; the message has the reason."""


class _Record(msgspec.Struct, omit_defaults=True):
    v: int
    address: _Text
    weight: Annotated[int, msgspec.Meta(ge=0, le=GREATEST_WEIGHT)] = 1
    zone: _Name = ""
    version: _Name = ""
    labels: Annotated[dict[_Name, _Text], msgspec.Meta(max_length=64)] = {}
    protocols: _Names = ()


class _Format(msgspec.Struct):
    v: int


def encode_record(endpoint: Endpoint) -> bytes:
    """Return the record of an endpoint as JSON.

    Raises:
        ConfigError: the record is too large.
    """
    record = msgspec.json.encode(_checked(endpoint))
    if len(record) > RECORD_BYTES:
        raise ConfigError(f"{endpoint} has a record of {len(record)} bytes, the limit is {RECORD_BYTES}")
    return record


def decode_record(data: bytes | str) -> Endpoint:
    """Return the endpoint that a JSON record describes.

    Raises:
        RecordError: the data is not a record of a known format.
    """
    if len(data) > RECORD_BYTES:
        raise RecordError(f"it has {len(data)} bytes, the limit is {RECORD_BYTES}")
    try:
        found = msgspec.json.decode(data, type=_Format).v
        if found != RECORD_FORMAT:
            raise RecordError(f"it has format {found}, the supported format is {RECORD_FORMAT}")
        return _endpoint(msgspec.json.decode(data, type=_Record))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"it does not fit: {error}") from None


def to_texts(endpoint: Endpoint) -> dict[str, str]:
    """Return the record as a flat table of texts, without the address. Labels are additional keys.

    Raises:
        ConfigError: the record is too large, or a label has the name of another key.
    """
    record = _checked(endpoint)
    texts = dict(record.labels)
    for name in _KEYS:
        if name in texts:
            raise ConfigError(
                f"{endpoint} has a label {name!r}, which is the name of another key of the record"
            )
    if record.weight != 1:
        texts["weight"] = str(record.weight)
    for name in ("zone", "version"):
        if value := getattr(record, name):
            texts[name] = value
    if record.protocols:
        texts["protocols"] = ",".join(record.protocols)
    return texts


def read_texts(address: str, texts: Mapping[Any, Any]) -> Endpoint:
    """Return the endpoint that a flat table describes. Unknown keys are labels.

    Raises:
        RecordError: a value is invalid.
    """
    values: dict[str, Any] = {key: texts[key] for key in ("zone", "version") if key in texts}
    try:
        if "weight" in texts:
            values["weight"] = msgspec.convert(texts["weight"], int, strict=False)
        if texts.get("protocols"):
            values["protocols"] = msgspec.convert(texts["protocols"], str).split(",")
        labels = {key: value for key, value in texts.items() if key not in _KEYS}
        values |= {"v": RECORD_FORMAT, "address": address, "labels": labels}
        return _endpoint(msgspec.convert(values, _Record))
    except msgspec.ValidationError as error:
        raise RecordError(f"it does not fit: {error}") from None


_WRITTEN = ("weight", "zone", "version", "protocols")

#: The keys of a flat table that are not labels. `codecs` is a key of earlier versions, so no label may have this name.
_KEYS = (*_WRITTEN, "codecs")


def _checked(endpoint: Endpoint) -> _Record:
    """Return a record after checking that it can be parsed."""
    values = {name: getattr(endpoint, name) for name in _WRITTEN}
    values |= {"v": RECORD_FORMAT, "address": str(endpoint.address), "labels": dict(endpoint.labels)}
    try:
        record = msgspec.convert(values, _Record)
        _endpoint(record)
    except (msgspec.ValidationError, RecordError) as error:
        raise ConfigError(f"{endpoint} cannot be registered: {error}") from None
    return record


def _endpoint(record: _Record) -> Endpoint:
    texts = (record.address, record.zone, record.version, *record.protocols)
    for text in (*texts, *record.labels, *record.labels.values()):
        # A record must not break a line of a log or a terminal.
        if not text.isprintable():
            raise RecordError(f"{text!r} has characters that cannot be printed")
    try:
        address = Address.parse(record.address)
    except ConfigError as error:
        raise RecordError(error.message) from None
    return Endpoint(
        address,
        weight=record.weight,
        labels=record.labels,
        zone=record.zone,
        version=record.version,
        protocols=record.protocols,
    )
