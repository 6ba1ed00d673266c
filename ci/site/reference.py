"""Write the pages of the reference: a directive of Sphinx's Python domain for each public name."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from ci.site.definitions import module_docstring
from ci.site.docstrings import as_text, described
from ci.site.entries import MODULES, Entry, entries_of

__all__ = ["write_reference"]

_INDENT = "   "

HEAD = """\
Reference
=========

Every public name: `__all__` of the package and of its public modules. `fastrpc.Client` and the other names of the
package are imported from `fastrpc`, the others from their module.
Durations are in seconds and sizes in bytes unless a name says otherwise. Errors of calls derive from
:py:class:`fastrpc.errors.FastRPCError`.

.. toctree::

"""


def write_reference(folder: Path) -> list[str]:
    """Write a page for each public module and an index; returns their names."""
    folder.mkdir(parents=True)
    (folder / "index.rst").write_text(
        HEAD + "".join(f"   {module}\n" for module in MODULES), encoding="utf-8"
    )
    for module in MODULES:
        (folder / f"{module}.rst").write_text(page_of(module), encoding="utf-8")
    return ["index", *MODULES]


def page_of(module: str) -> str:
    """Return the page of a public module."""
    parts = [f"{module}\n{'=' * len(module)}\n", f".. py:module:: {module}\n"]
    parts.append(as_text(module_docstring(module).partition("\n\n")[0]) + "\n")
    # Names that another page describes are last.
    entries = sorted(entries_of(module), key=lambda entry: entry.home != module)
    parts += ["\n".join(_entry(module, entry)) + "\n" for entry in entries]
    return "\n".join(parts)


def _entry(module: str, entry: Entry) -> Iterator[str]:
    if entry.kind == "module":
        # The page of the module lists it.
        yield f"`{entry.name}` is the module :py:mod:`{entry.home}`.\n"
        return
    if entry.home != module:
        role = {"class": "class", "function": "func"}.get(entry.kind, "data")
        same = f":py:{role}:`{entry.home}.{entry.name}`"
        yield from (f".. py:data:: {entry.name}", "", f"{_INDENT}The same as {same}.", "")
        return
    head = f".. py:{entry.kind}:: "
    yield from (
        (head if index == 0 else " " * len(head)) + entry.name + signature
        for index, signature in enumerate(entry.signatures)
    )
    yield from (_INDENT + option for option in entry.options)
    yield ""
    blocks = [as_text(entry.text), "\n".join(described(entry.sections))]
    if entry.bases:
        blocks.insert(0, f"Derived from {', '.join(f'`{base}`' for base in entry.bases)}.")
    yield from (indent(block, _INDENT) + "\n" for block in blocks if block)
    for member in entry.members:
        yield indent("\n".join(_entry(module, member)), _INDENT)
