"""The names that a module of source imports, in addition to the names that it defines."""

from collections.abc import Collection, Iterable

__all__ = ["ImportedNames"]


class ImportedNames:
    """The names of one module. A name that the module defines stays; an import of the same name gets an alias.

    Args:
        taken: the names that the module defines.
        always: names that an import may have even if they are taken.
    """

    def __init__(self, taken: Iterable[str], always: Collection[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._always = always
        #: The local names of imports, by module and imported name.
        self._imported: dict[tuple[str, str], str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def free(self, name: str, suffix: str = "_") -> str:
        """Reserve a name that is not in use, and return it."""
        while name in self._taken:
            name += suffix
        self._taken.add(name)
        return name

    def use(self, name: str, module: str, hidden: Collection[str] = ()) -> str:
        """Import a name; return its name here.

        Args:
            hidden: names that mean something else at that place.
        """
        plain = self._imported.get((module, name))
        if plain is None and name not in hidden and (name not in self._taken or name in self._always):
            plain = self._imported[module, name] = name
            self._taken.add(name)
        if plain is not None and plain not in hidden:
            return plain
        key = (module, f"{name} as")
        if key not in self._imported:
            self._imported[key] = self.free(f"{name}_type")
        return self._imported[key]

    def by_module(self) -> list[tuple[str, list[str]]]:
        """Return the imported names of each module; a renamed one has the form `name as other`."""
        by_module: dict[str, list[str]] = {}
        for (module, name), here in self._imported.items():
            plain = name.removesuffix(" as")
            by_module.setdefault(module, []).append(plain if plain == here else f"{plain} as {here}")
        return [(module, sorted(found)) for module, found in sorted(by_module.items())]
