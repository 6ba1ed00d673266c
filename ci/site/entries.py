"""The entries of the reference: each public name with its signatures, text and members."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ci.site.definitions import Definition, bases_of, defined, flat, public_names, resolved
from ci.site.docstrings import Sections, sections_of

__all__ = ["MODULES", "Entry", "entries_of", "home_of"]

#: The public modules, in the order of their pages.
MODULES = (
    "fastrpc",
    "fastrpc.config",
    "fastrpc.errors",
    "fastrpc.status",
    "fastrpc.endpoint",
    "fastrpc.limits",
    "fastrpc.auth",
    "fastrpc.interceptors",
    "fastrpc.registries",
    "fastrpc.selectors",
    "fastrpc.failmodes",
    "fastrpc.coordination",
    "fastrpc.brokers",
    "fastrpc.files",
    "fastrpc.types",
    "fastrpc.metrics",
    "fastrpc.grpc",
    "fastrpc.grpc.aio",
    "fastrpc.testing",
)

#: Members for other parts of the package, by the modules of their classes: programs do not use them.
INTERNAL = {
    "fastrpc": """
        admin_state adopt_attempt announce_workers answer_of_attempt attempt attempt_ended begin change check_wanted
        conclude drained enter_loop fail failure finish forget gives_stream give_up_attempt has_sign input_ended
        intercept is_chosen is_fed is_intercepted is_open is_over log_drain metadata_blocks needs_no_attempt on_sign
        origin output_ended pack_message place_of_source settle_attempt share_limits spawn start_attempt start_clock
        take takes_stream tries_again unpack_message until_told wait_open wait_over waiting wake
        """,
    "fastrpc.brokers": """
        acknowledge begin failed forget keep note_ack put_back shown stop_taking subscription tell_health
        """,
    "fastrpc.auth": "decide handles look patterns rules verify version",
    "fastrpc.registries": "check_service",
    "fastrpc.selectors": """
        claimed endpoint_state endpoints is_keyed key_of needs_whole_call observe_endpoint observes_each_pick
        pick_endpoint update_endpoints
        """,
}

#: Constants of the settings, as a reader knows them.
_UNITS = {"_KIB": "1024", "_MIB": "1024**2"}
_UNIT = re.compile(r"\b_[KM]IB\b")
_COMMENT = re.compile(r"#:? ?(.*)$")


@dataclass(frozen=True)
class Entry:
    """A public name, or a member of one."""

    name: str
    kind: str
    signatures: tuple[str, ...]
    text: str
    sections: Sections
    #: The module whose page describes the name, for names that two modules have.
    home: str
    members: tuple["Entry", ...] = ()
    options: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()


def home_of(module: str, name: str) -> str:
    """Return the public module that describes a name: the most specific one with the same definition."""
    here = resolved(module, name)
    if module != "fastrpc":
        return module
    for other in MODULES[1:]:
        if name in public_names(other) and resolved(other, name) == here:
            return other
    return module


def entries_of(module: str) -> list[Entry]:
    """Return the entries of the names that a public module has."""
    found = []
    for name in public_names(module):
        if f"{module}.{name}" in MODULES:
            found.append(Entry(name, "module", ("",), "", {}, f"{module}.{name}"))
        else:
            found.append(_entry(name, resolved(module, name), home_of(module, name)))
    return found


def _entry(name: str, found: list[Definition], home: str) -> Entry:
    assert found, f"{home}.{name} is defined nowhere"
    first = found[0]
    if isinstance(first.node, ast.ClassDef):
        return _class(name, first, home)
    if isinstance(first.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _function(name, "function", found, home)
    return _value(name, "data", first, home)


def _function(name: str, kind: str, found: list[Definition], home: str) -> Entry:
    nodes = [one.node for one in found if isinstance(one.node, ast.FunctionDef | ast.AsyncFunctionDef)]
    overloads = [node for node in nodes if _has(node, "overload")]
    text, sections = sections_of(next(filter(None, map(ast.get_docstring, nodes)), None))
    is_manager = _has(nodes[0], "contextmanager") or _has(nodes[0], "asynccontextmanager")
    options: tuple[str, ...] = ()
    if isinstance(nodes[0], ast.AsyncFunctionDef) and not is_manager:
        options = (":async:",)
    if is_manager:
        verb = "async with" if _has(nodes[0], "asynccontextmanager") else "with"
        text += f"\n\nIt is a context manager, entered by `{verb}`."
    for decorator in ("classmethod", "staticmethod"):
        if _has(nodes[0], decorator):
            options += (f":{decorator}:",)
    is_method = kind == "method" and ":staticmethod:" not in options
    signatures = tuple(_signature(node, is_method) for node in overloads or nodes[:1])
    return Entry(name, kind, signatures, text, sections, home, options=options)


def _has(node: ast.FunctionDef | ast.AsyncFunctionDef, decorator: str) -> bool:
    return any(ast.unparse(one) == decorator for one in node.decorator_list)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> str:
    arguments = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(arguments, ast.FunctionDef | ast.AsyncFunctionDef)
    given = arguments.args
    if is_method:
        (given.posonlyargs or given.args).pop(0)
    returned = f" -> {_type(node.returns)}" if node.returns is not None and node.name != "__init__" else ""
    for one in [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]:
        if one is not None and one.annotation is not None:
            one.annotation = ast.parse(_type(one.annotation), mode="eval").body
    return f"({ast.unparse(given)}){returned}"


def _type(node: ast.expr | None) -> str:
    """Return an annotation; a quoted annotation without its quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "" if node is None else ast.unparse(node)


def _class(name: str, definition: Definition, home: str) -> Entry:
    assert isinstance(definition.node, ast.ClassDef)
    bases = bases_of(definition)
    text, sections = sections_of(ast.get_docstring(definition.node))
    described = {
        field: text
        for base in reversed(bases)
        if isinstance(base.node, ast.ClassDef)
        for field, text in sections_of(ast.get_docstring(base.node))[1].get("Attributes", {}).items()
    }
    members = [
        member
        for member in _members(bases, described, home)
        if member.name not in INTERNAL.get(home, "").split()
    ]
    return Entry(
        name,
        "class",
        _constructor(bases),
        text,
        sections,
        home,
        tuple(members),
        bases=_shown_bases(definition.node),
    )


def _shown_bases(node: ast.ClassDef) -> tuple[str, ...]:
    """Return the bases that say something to a reader: errors, protocols and enumerations."""
    plain = (ast.unparse(base) for base in node.bases)
    return tuple(base for base in plain if base.endswith(("Error", "Exception", "Protocol", "IntEnum")))


def _constructor(bases: list[Definition]) -> tuple[str, ...]:
    first = bases[0].node
    assert isinstance(first, ast.ClassDef)
    marks = {ast.unparse(one).partition("(")[0] for one in first.decorator_list}
    if marks & {"settings_class", "value_class", "named_value_class", "dataclass"}:
        fields = [
            node
            for base in reversed(bases)
            if isinstance(base.node, ast.ClassDef)
            for node in flat(base.node.body)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and "ClassVar" not in _type(node.annotation)
        ]
        by_name = "" if marks & {"value_class", "dataclass"} else "*, "
        # Types are shown at the attributes, where the attributes are described.
        typed = "Attributes" not in sections_of(ast.get_docstring(first))[1]
        given = ", ".join(
            f"{ast.unparse(node.target)}{f': {_type(node.annotation)}' if typed else ''}{_default(node.value)}"
            for node in fields
        )
        return (f"({by_name if given else ''}{given})",)
    if any(ast.unparse(base).partition("[")[0] in {"Protocol", "enum.IntEnum"} for base in first.bases):
        return ("",)
    for base in bases:
        assert isinstance(base.node, ast.ClassDef)
        found = [
            node
            for node in flat(base.node.body)
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        ]
        if found:
            return tuple(
                _signature(node, True) for node in found if len(found) == 1 or _has(node, "overload")
            )
    return ("",)


def _default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = next((one for one in value.keywords if one.arg in {"default", "default_factory"}), None)
        if given is None:
            return ""
        made = given.value.body if isinstance(given.value, ast.Lambda) else given.value
        written = ast.unparse(made)
        if given.arg == "default_factory" and isinstance(made, ast.Name):
            written = "..." if written.startswith("_") else f"{written}()"
    else:
        written = ast.unparse(value)
    return f"={_UNIT.sub(lambda unit: _UNITS[unit[0]], written)}"


def _members(bases: list[Definition], described: dict[str, str], home: str) -> Iterator[Entry]:
    found: dict[str, list[Definition]] = {}
    for base in bases:
        assert isinstance(base.node, ast.ClassDef)
        for node in flat(base.node.body):
            name = defined(node)
            if name is not None and not name.startswith("_"):
                found.setdefault(name, []).append(Definition(base.module, node, base.lines))
    for name, definitions in found.items():
        first = definitions[0]
        if isinstance(first.node, ast.FunctionDef | ast.AsyncFunctionDef):
            entry = _method(name, definitions, home)
        elif isinstance(first.node, ast.ClassDef):
            continue
        else:
            entry = _value(name, "attribute", first, home, described.get(name))
        if entry.text:
            yield entry
    # Attributes that only a constructor sets.
    yield from (
        Entry(name, "attribute", ("",), text, {}, home)
        for name, text in described.items()
        if name not in found
    )


def _method(name: str, definitions: list[Definition], home: str) -> Entry:
    first = definitions[0].node
    assert isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef)
    if _has(first, "property"):
        texts = [ast.get_docstring(one.node) for one in definitions if isinstance(one.node, ast.FunctionDef)]
        text, sections = sections_of(next(filter(None, texts), None))
        options = (f":type: {_type(first.returns)}",) if first.returns is not None else ()
        return Entry(name, "property", ("",), text, sections, home, options=options)
    return _function(name, "method", definitions, home)


def _value(name: str, kind: str, definition: Definition, home: str, text: str | None = None) -> Entry:
    node, lines = definition.node, definition.lines
    options: tuple[str, ...] = ()
    if isinstance(node, ast.AnnAssign):
        if _type(node.annotation) != "TypeAlias":
            options += (f":type: {_type(node.annotation)}",)
        if default := _default(node.value):
            options += (f":value: {default[1:]}",)
    elif isinstance(node, ast.Assign):
        options += (f":value: {ast.unparse(node.value)}",)
    return Entry(name, kind, ("",), text or _comment(node, lines), {}, home, options=options)


def _comment(node: ast.stmt, lines: tuple[str, ...]) -> str:
    """Return the comment after a value, or the comment of `#:` above it."""
    assert node.end_lineno is not None
    behind = lines[node.end_lineno - 1][node.end_col_offset :]
    if match := _COMMENT.search(behind):
        return match[1]
    above: list[str] = []
    line = node.lineno - 2
    while line >= 0 and lines[line].strip().startswith("#:"):
        above.insert(0, lines[line].strip()[2:].strip())
        line -= 1
    return " ".join(above)
