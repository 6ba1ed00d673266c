"""The options of `fastrpc run` for the place where the program runs, and their settings."""

from typing import Annotated, Any

import typer

from fastrpc.cli.settings import RunSettings
from fastrpc.errors import ConfigError
from fastrpc.place import Place

__all__ = ["LabelPairs", "Region", "Weight", "Zone", "place_settings", "placed"]

Zone = Annotated[
    str | None, typer.Option("--zone", metavar="ZONE", help="The zone to register, such as eu-1a.")
]
Region = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help="The region around the zone, as a label.")
]
LabelPairs = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="K=V", help="A label to register; may be repeated."),
]
Weight = Annotated[
    int | None,
    typer.Option(
        "--weight", min=0, metavar="N", help="The share of calls, relative to other servers. [default: 1]"
    ),
]


def place_settings(
    zone: str | None, region: str | None, label: list[str] | None, weight: int | None
) -> dict[str, Any]:
    """Return the settings for `--zone`, `--region`, `--label` and `--weight`; None for a missing option."""
    return {"zone": zone, "region": region, "label": label or None, "weight": weight}


def placed(settings: RunSettings) -> dict[str, Any]:
    """Return the given fields of a `Place` after checking them.

    Raises:
        ConfigError: a field cannot be used; the message names its source.
    """
    fields = dict(settings.placed)
    with settings.places.naming("label"):
        if "label" in fields:
            fields["labels"] = _labels(fields.pop("label"))
    for name, value in fields.items():
        with settings.places.naming("label" if name == "labels" else name):
            Place(**{"latitude": 0.0, "longitude": 0.0, name: value})
    Place(**fields)
    return fields


def _labels(pairs: tuple[str, ...]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name or not separator:
            raise ConfigError(f"{pair!r} is not a label", hint="write it as --label tier=fast")
        labels[name] = value
    return labels
