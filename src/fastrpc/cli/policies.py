"""`fastrpc policy`: check a file of rules against its services, and explain its decisions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.auth.explanation import explained
from fastrpc.auth.name_patterns import ANONYMOUS
from fastrpc.auth.policy import Findings, Policy
from fastrpc.cli.calling.command import AsJson, Method
from fastrpc.cli.contracts.source import definitions_in
from fastrpc.cli.output import Part, shown, stdout
from fastrpc.cli.printing import describe_error, print_json, reported
from fastrpc.errors import ConfigError
from fastrpc.patterns import MethodPattern
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.description import nearest_name
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.service import service_definition
from fastrpc.server.builtin import Reflection
from fastrpc.server.health import Health
from fastrpc.workers.plan import ExitCode

__all__ = ["check", "explain", "policy"]

policy = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Rules for the methods that each caller may call.",
    rich_markup_mode="markdown",
)

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The rules, as TOML.")]


@policy.callback()
def _group() -> None:
    """Rules that allow and deny calls."""


@policy.command("check", epilog="Example: fastrpc policy check policy.toml app:services")
def check(
    file: PolicyFile,
    services: Annotated[
        str, typer.Argument(metavar="MODULE:ATTRIBUTE", help="The services, such as app:services.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a policy against its services: exit code 1 if a rule cannot be right.

    A rule for an unknown method of a service that is served is an error. A rule for a service that is not served only
    causes a warning, as several servers may share one file. A rule that lets anonymous callers call a method that is
    not public causes a warning, too.

    Functions that make services are run, classes are not.
    """
    with reported(ExitCode.USAGE, as_json=as_json):
        if not file.is_file():
            raise ConfigError(f"{file} is not a file", hint="give the path of a policy, a file of TOML")
        served = definitions_in(services)
    rules = 0
    try:
        read = Policy.from_file(file)
        rules = len(read.rules)
        methods = [method for one in served for method in one.methods.values()]
        public = {method.full_name for method in methods if method.public}
        found = read.check((method.full_name for method in methods), public=public)
    except ConfigError as error:
        # The error is about the file, not about an argument of the command.
        cause, hint = describe_error(error)
        found = Findings([f"{cause} ({hint})" if hint else cause])
    is_right = not found.errors and not (strict and found.warnings)
    if as_json:
        print_json({"valid": is_right, "rules": rules, "errors": found.errors, "warnings": found.warnings})
    else:
        _print_findings(found, rules)
    if not is_right:
        raise typer.Exit(ExitCode.FAILED)


def _print_findings(found: Findings, rules: int) -> None:
    for text in found.errors:
        stdout.print(("error    ", "bold red"), shown(text))
    for text in found.warnings:
        stdout.print(("warning  ", "yellow"), shown(text))
    counts = (
        _count(rules, "rule"),
        _count(len(found.errors), "error"),
        _count(len(found.warnings), "warning"),
    )
    stdout.print(", ".join(counts))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@policy.command(
    "explain", epilog="Example: fastrpc policy explain policy.toml ada bank.balance --role auditor"
)
def explain(
    file: PolicyFile,
    identity: Annotated[
        str,
        typer.Argument(metavar="IDENTITY", help=f"The caller's name; {ANONYMOUS} is one without identity."),
    ],
    method: Method,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="A role of the caller; may be repeated."),
    ] = None,
    services: Annotated[
        str | None,
        typer.Option(
            "--services",
            metavar="MODULE:ATTRIBUTE",
            help="The services; then the demands of the method itself count, too.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain the decision of a policy about a caller and a method: the rule, and the reason.

    The requirements of the method itself, `@method(public=…, roles=…)`, are not in the file: --services adds them.
    """
    with reported(ExitCode.USAGE, as_json=as_json):
        caller = _caller(identity, roles or ())
        _check_method(method)
        definition = _built_in(method) if services is None else _definition(services, method)
        found = explained(Policy.from_file(file), caller, method, definition)
    if as_json:
        print_json(found.as_values())
        return
    word: Part = ("allowed: ", "bold green") if found.is_allowed else ("denied: ", "bold red")
    if found.is_allowed_if_public:
        word = ("allowed if public: ", "bold yellow")
    priority = ", with priority 2" if found.is_high else ""
    stdout.print(word, shown(f"{found.reason}{priority}"))
    for effect in found.considered:
        if effect is not found.decisive:
            stdout.print(shown(f"  {effect}", "dim"))


def _caller(name: str, roles: Sequence[str]) -> Identity | None:
    for role in roles:
        if role.startswith("role:"):
            raise ConfigError(
                f"--role is {role!r}", hint=f"leave the prefix out: --role {role.removeprefix('role:')}"
            )
    if name != ANONYMOUS:
        return Identity(name, roles=roles)
    if roles:
        raise ConfigError(f"{ANONYMOUS} has no roles", hint="leave --role out, or name a caller")
    return None


def _built_in(name: str) -> MethodDefinition | None:
    """Return a method that every server has; None for any other method."""
    known = (service_definition(Health), service_definition(Reflection))
    return next(
        (method for one in known for method in one.methods.values() if method.full_name == name), None
    )


def _definition(services: str, name: str) -> MethodDefinition:
    known = {method.full_name: method for one in definitions_in(services) for method in one.methods.values()}
    if name not in known:
        near = nearest_name(name, known)
        raise ConfigError(
            f"{services} has no method {name!r}",
            hint=f"did you mean {near!r}?" if near else f"it has {', '.join(sorted(known))}",
        )
    return known[name]


def _check_method(name: str) -> None:
    if not MethodPattern(name).is_exact:
        raise ConfigError(f"{name!r} is a pattern, not a method", hint="name one method: shop.pay")
