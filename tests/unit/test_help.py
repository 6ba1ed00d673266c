"""What `help()` and `inspect` show of the compiled parts that users call themselves."""

import ast
import dataclasses
import inspect
import pydoc
import re
from typing import Any

import pytest

import fastrpc
from fastrpc import config, selectors
from fastrpc.rpc.options import CallOptions
from tests.support.source_tree import PACKAGE, tree

pytestmark = pytest.mark.usefixtures("forgotten_trees")

VERBS = ("call", "request", "notify", "call_many", "with_options")
SELECTORS = [
    selectors.ConsistentHash,
    selectors.DoubleJump,
    selectors.JumpHash,
    selectors.LeastLoaded,
    selectors.Random,
    selectors.RoundRobin,
    selectors.SmoothWeighted,
]


def stubs_of(kind: type) -> list[ast.ClassDef]:
    """The stubs of the compiled classes that a class is derived from, as they are looked through."""
    found = []
    for base in kind.__mro__:
        stub = PACKAGE.parent / f"{base.__module__.replace('.', '/')}.pyi"
        if base.__module__.startswith("fastrpc._core."):
            nodes = [node for node in tree(stub).body if isinstance(node, ast.ClassDef)]
            found += [node for node in nodes if node.name == base.__name__]
    return found


def stubbed(kind: type, method: str) -> ast.FunctionDef:
    """The method as the stub has it; the first of its overloads."""
    methods = [node for stub in stubs_of(kind) for node in stub.body if isinstance(node, ast.FunctionDef)]
    return next(node for node in methods if node.name == method)


@pytest.mark.parametrize("client", [fastrpc.Client, fastrpc.SyncClient])
@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_equals_its_stub(client: type, verb: str) -> None:
    text = ast.get_docstring(stubbed(client, verb))
    assert text
    assert inspect.getdoc(getattr(client, verb)) == text


@pytest.mark.parametrize("client", [fastrpc.Client, fastrpc.SyncClient])
def test_help_of_with_options_describes_every_option(client: Any) -> None:
    described = documented_arguments(client.with_options)
    assert described == set(CallOptions.__annotations__)


@pytest.mark.parametrize("method", ["update", "pick", "observe"])
def test_help_of_a_selector_method_equals_its_stub(method: str) -> None:
    text = ast.get_docstring(stubbed(selectors.Random, method))
    assert text
    assert inspect.getdoc(getattr(selectors.Random, method)) == text


@pytest.mark.parametrize("selector", SELECTORS)
def test_signature_of_a_selector_matches_its_stub(selector: type) -> None:
    wanted = stubbed(selector, "__init__").args
    assert not wanted.args[1:]
    defaults = [ast.literal_eval(default) for default in wanted.kw_defaults if default is not None]
    shown = inspect.signature(selector).parameters
    assert {name: parameter.default for name, parameter in shown.items()} == dict(
        zip([argument.arg for argument in wanted.kwonlyargs], defaults, strict=True)
    )


@pytest.mark.parametrize("selector", SELECTORS)
def test_help_of_a_selector_describes_every_argument(selector: type) -> None:
    assert documented_arguments(selector) == set(inspect.signature(selector).parameters)


@pytest.mark.parametrize("selector", SELECTORS)
def test_signature_of_a_selector_has_the_parameters_it_takes(selector: type) -> None:
    shown = inspect.signature(selector).parameters
    selector(**{name: parameter.default for name, parameter in shown.items()})


@pytest.mark.parametrize("settings", [getattr(config, name) for name in config.__all__])
def test_help_of_settings_describes_every_field(settings: Any) -> None:
    described = documented_arguments(settings, "Attributes")
    assert described == {field.name for field in dataclasses.fields(settings)}
    assert not re.search(r"^    \w+:( None)?$", inspect.getdoc(settings) or "", re.MULTILINE)


def test_pydoc_shows_the_fields_of_settings() -> None:
    shown = " ".join(pydoc.render_doc(config.Pool, renderer=pydoc.plaintext).replace(" |", "").split())
    assert (
        "The connections that a client keeps. Attributes: connections_per_endpoint: connections to" in shown
    )
    assert (
        "retries: the budget of retries for all calls of the client together. breaker: the circuit" in shown
    )


def documented_arguments(described: Any, head: str = "Args") -> set[str]:
    """The names below a head line; several may share a text."""
    _, _, rest = (inspect.getdoc(described) or "").partition(f"{head}:\n")
    lines = [line for line in rest.splitlines() if line.startswith("    ") and line[4] != " "]
    return {name for line in lines for name in line.partition(":")[0].strip().split(", ")}


def test_the_decorators_show_the_defaults_that_count() -> None:
    def defaults(function: Any) -> dict[str, Any]:
        shown = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in shown if one.default is not None}

    assert defaults(fastrpc.method) == {
        **dict.fromkeys(("inline", "idempotent", "public", "safe", "tool"), False),
        "roles": (),
        "alias": (),
    }
    assert defaults(fastrpc.service) == {"name": inspect.Parameter.empty, "alias": (), "part": False}
