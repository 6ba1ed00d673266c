"""The reference of the site has an entry for every public name, with the facts that a caller needs."""

import importlib
import re

import pytest

import fastrpc
from ci.site.entries import INTERNAL, MODULES, Entry, entries_of
from ci.site.reference import page_of

ENTRIES = {module: entries_of(module) for module in MODULES}
OWN = [
    (module, entry)
    for module, entries in ENTRIES.items()
    for entry in entries
    if entry.home == module and entry.kind != "module"
]
IDS = [f"{module}.{entry.name}" for module, entry in OWN]

_UNIT = re.compile(r"second|share|factor|fraction|percent|rate|ratio|times|number", re.IGNORECASE)

#: Public modules that hold other modules only: plug-ins find their interfaces by the entry points.
WITHOUT_NAMES = {"codecs"}


def parameters_of(signature: str) -> set[str]:
    """Return the names that a call may give."""
    plain = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", signature))
    return set(re.findall(r"(?:^\(|, )(\w+)(?=[:=,)])", plain))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module: str) -> None:
    assert [entry.name for entry in ENTRIES[module]] == importlib.import_module(module).__all__


def test_every_public_module_has_a_page() -> None:
    modules = {name for name in dir(fastrpc) if f"fastrpc.{name}" in MODULES}
    assert {f"fastrpc.{name}" for name in modules} == {name for name in MODULES if name.count(".") == 1}
    assert fastrpc._MODULES - modules == WITHOUT_NAMES


@pytest.mark.parametrize(("module", "entry"), OWN, ids=IDS)
def test_an_entry_has_a_text_and_only_arguments_that_exist(module: str, entry: Entry) -> None:
    assert entry.text
    assert [member.name for member in entry.members if not member.text] == []
    described = set(entry.sections.get("Args", {})) - {"kwargs"}
    named = {name.strip("*") for name in described}
    assert named - set().union(*map(parameters_of, entry.signatures)) <= {
        name for name in named if f"*{name}" in "".join(entry.signatures)
    }


def test_an_entry_that_another_module_has_leads_there() -> None:
    moved = {entry.name: entry.home for entry in ENTRIES["fastrpc"] if entry.home != "fastrpc"}
    assert moved["ServerConfig"] == "fastrpc.config"
    assert moved["CallError"] == "fastrpc.errors"
    assert "The same as :py:class:`fastrpc.auth.Identity`." in page_of("fastrpc")


def test_stubs_give_compiled_methods_their_types_and_overloads() -> None:
    entries = {entry.name: entry for entry in ENTRIES["fastrpc"]}
    members = {member.name: member for member in entries["Client"].members}
    assert len(members["call"].signatures) > 2
    assert members["stats"].signatures[0].startswith("() -> ")
    assert ":type: Identity | None" in {
        option for member in entries["Call"].members for option in member.options
    }


def test_units_and_defaults_of_settings_are_shown() -> None:
    page = page_of("fastrpc.config")
    assert ".. py:attribute:: call\n      :type: float | None\n      :value: 5.0" in page
    (entry,) = (entry for entry in ENTRIES["fastrpc.config"] if entry.name == "Timeouts")
    assert "seconds" in entry.text + " ".join(member.text for member in entry.members)


@pytest.mark.parametrize("entry", ENTRIES["fastrpc.config"], ids=lambda entry: entry.name)
def test_settings_that_are_fractions_name_their_unit(entry: Entry) -> None:
    fractions = [
        f"{member.name} {member.text}"
        for member in entry.members
        if any(option.startswith(":type: float") for option in member.options)
    ]
    assert [text for text in fractions if not _UNIT.search(text)] == []


def test_errors_stand_below_their_functions() -> None:
    assert ":raises LookupError: no handler is running here." in page_of("fastrpc")


def test_no_internal_member_is_shown_and_each_of_the_list_exists() -> None:
    for module, words in INTERNAL.items():
        shown = {member.name for entry in ENTRIES[module] for member in entry.members}
        assert shown.isdisjoint(words.split())
        present = {
            name
            for entry in ENTRIES[module]
            if entry.home == module
            for name in dir(getattr(importlib.import_module(module), entry.name))
        }
        assert set(words.split()) <= present
