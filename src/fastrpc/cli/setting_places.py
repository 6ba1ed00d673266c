"""The places of settings: an error names the key in the file, or the variable, instead of a field of a class."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from fastrpc.config import TLS
from fastrpc.errors import ConfigError

__all__ = ["SettingPlaces"]


class SettingPlaces:
    """The places of a command's settings, for errors.

    Args:
        places: the file and section, or the variable, by key; keys from the command line have no place.
        fields: the name of each setting in the errors of its class, such as `Timeouts.drain`, by key.
    """

    def __init__(self, places: Mapping[str, str], fields: Mapping[str, str]) -> None:
        self._places = places
        self._by_field = {fields.get(key, key): place for key, place in places.items()}
        for section, field in fields.items():
            inside = [place for key, place in places.items() if key.startswith(f"{section}.")]
            if inside:
                self._by_field[field] = ", ".join(inside)

    def below(self, section: str) -> dict[str, str]:
        """Return the places of the settings of a section, by field."""
        return {
            key.rpartition(".")[2]: place
            for key, place in self._places.items()
            if key.rpartition(".")[0] == section
        }

    def files_of(self, tls: TLS | None) -> dict[str, Any]:
        """Return the TLS settings that have a place, by place."""
        return {place: getattr(tls, name) for name, place in self.below("tls").items()}

    def named(self, error: ConfigError) -> ConfigError | None:
        """Return an error that names the place instead of the field; None for other errors."""
        field, _, rest = error.message.partition(" ")
        place = self._by_field.get(field.rstrip(":"))
        if place is None:
            return None
        return ConfigError(f"{place}{':' if field.endswith(':') else ''} {rest}", hint=error.hint)

    @contextlib.contextmanager
    def naming(self, key: str) -> Iterator[None]:
        """Put the place of a setting before each ConfigError that the block raises."""
        try:
            yield
        except ConfigError as error:
            if key not in self._places:
                raise
            raise ConfigError(f"{self._places[key]}: {error.message}", hint=error.hint) from None

    @contextlib.contextmanager
    def naming_fields(self, section: str | None = None) -> Iterator[None]:
        """Name the place in each ConfigError about a field.

        Args:
            section: the section to name if settings contradict each other; None: no section.
        """
        try:
            yield
        except ConfigError as error:
            named = self.named(error)
            given = "" if section is None else ", ".join(self.below(section).values())
            if named is None and given:
                named = ConfigError(f"{given}: {error.message}", hint=error.hint)
            if named is None:
                raise
            raise named from None
