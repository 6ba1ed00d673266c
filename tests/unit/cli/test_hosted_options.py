"""The options of the commands that host one service."""

import pytest
import typer
from typer.testing import CliRunner

from fastrpc.cli.application import application
from fastrpc.cli.hosted_options import HostedOptions, with_hosted_options

HOSTED = ("registry", "store", "broker", "relay")

#: The options that each command words for its own contents.
OWN = {"--address", "--data-dir"}


def texts_of(name: str) -> dict[str, str]:
    """Return the help of each option of a command."""
    command = typer.main.get_command(application).get_command(None, name)  # type: ignore[attr-defined,arg-type]
    return {one.opts[0]: one.help for one in command.params}


@pytest.mark.parametrize("name", HOSTED)
def test_commands_of_hosted_services_have_the_same_options(name: str) -> None:
    shared = texts_of("relay").keys() - {"--name"}
    found = texts_of(name)
    assert found.keys() >= shared
    assert {text: found[text] for text in shared - OWN} == {
        text: texts_of("relay")[text] for text in shared - OWN
    }
    assert "--admin-address" in shared


@pytest.mark.parametrize(
    ("arguments", "address"),
    [([], ["tcp://127.0.0.1:1"]), (["-a", "tcp://127.0.0.1:2", "-a", "tcp://[::1]:3"], None)],
)
def test_a_command_gets_the_common_options_in_addition_to_its_own(
    arguments: list[str], address: list[str] | None
) -> None:
    seen: list[tuple[HostedOptions, str]] = []
    alone = typer.Typer()

    @alone.command()
    @with_hosted_options("tcp://127.0.0.1:1")
    def host(hosted: HostedOptions, own: str = "a") -> None:
        seen.append((hosted, own))

    result = CliRunner().invoke(alone, [*arguments, "--own", "b", "--log-level", "debug"])
    assert result.exit_code == 0, result.output
    assert seen == [(HostedOptions(address=address or arguments[1::2], log_level="debug"), "b")]
