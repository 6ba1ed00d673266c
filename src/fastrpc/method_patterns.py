"""Patterns of method names: one grammar for limits and policies.

::

    shop.pay      this method
    shop.*        the methods of the service `shop`
    shop.**       those, and the methods of all services below it, such as shop.orders.list
    **            every method, but for the built-in services `fastrpc.*`, which are named explicitly
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastrpc.errors import ConfigError

__all__ = ["MethodPattern", "method_patterns"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FORMS: Final = "write shop.pay, shop.*, shop.** or **"
_BUILT_IN: Final = "fastrpc."


class MethodPattern:
    """A pattern of full method names.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ("_reach", "_service", "text")

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a pattern of methods is {text!r}, it must be text")
        self.text = text
        service, _, last = text.rpartition(".")
        #: "**", "*" or "", an exact name; what is before it.
        self._reach = last if last in {"*", "**"} else ""
        self._service = service
        names = service.split(".") if self._reach else text.split(".")
        is_all = text == "**"
        if len(names) == 2 and not self._reach and names[0] == "":
            # A bare function, whose service has no name.
            del names[0]
        elif not (self._reach or len(names) > 1):
            names.clear()
        if not is_all and not (names and all(_NAME.fullmatch(name) for name in names)):
            raise ConfigError(f"{text!r} is no pattern of methods", hint=_FORMS)

    @property
    def is_exact(self) -> bool:
        """Whether it is the name of one method."""
        return not self._reach

    def matches(self, method: str) -> bool:
        """Return whether a full method name fits."""
        if not self._reach:
            return method == self.text
        if not self._service:
            return not method.startswith(_BUILT_IN)
        service = method.rpartition(".")[0]
        return service == self._service or (self._reach == "**" and service.startswith(f"{self._service}."))

    def covers(self, service: str) -> bool:
        """Return whether every method of a service fits."""
        return bool(self._reach) and self.matches(f"{service}.x")

    def missing_in(self, methods: Iterable[str]) -> str | None:
        """Return the service of a pattern that matches none of these methods; None if it matches one."""
        if self.text == "**" or any(self.matches(method) for method in methods):
            return None
        return self._service

    def __repr__(self) -> str:
        return f"MethodPattern({self.text!r})"


def method_patterns(given: Any) -> tuple[MethodPattern, ...]:
    """Return the patterns given as one text or as several.

    Raises:
        ConfigError: the list is empty, or an item is not a pattern.
    """
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"methods is {given!r}, it must be a pattern, or a list of them", hint=_FORMS)
    return tuple(MethodPattern(text) for text in texts)
