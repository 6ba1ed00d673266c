"""The texts of the command line about itself: help, names of commands, its version, a missing extra."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
from typer.main import get_command

import fastrpc
from fastrpc.cli.application import application
from tests.support.program import Finished, run_program


def command(folder: Path, *arguments: str, **environment: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder, environment)


class TestHelp:
    @pytest.mark.parametrize("name", [(), ("run",), ("dev",), ("call",), ("list",), ("health",), ("bench",)])
    def test_every_command_has_an_example(self, tmp_path: Path, name: tuple[str, ...]) -> None:
        ended = command(tmp_path, *name, "--help")
        assert ended.code == 0
        assert re.search(rf"Example: fastrpc {' '.join(name)}", ended.output)

    @pytest.mark.parametrize("name", ["run", "dev", "call", "list", "health", "bench", "registry"])
    def test_nothing_is_cut_at_the_width_of_a_terminal(self, tmp_path: Path, name: str) -> None:
        ended = command(tmp_path, name, "--help", COLUMNS="80")
        assert ended.code == 0
        assert not re.search(r"\S…", ended.output)
        expected = {
            **dict.fromkeys(("run", "dev"), "tcp://127.0.0.1:8972"),
            "registry": "tcp://127.0.0.1:8970",
        }
        assert expected.get(name, "") in ended.output

    def test_every_command_is_listed_by_its_name(self, tmp_path: Path) -> None:
        known: list[str] = cast(Any, get_command(application)).list_commands(None)
        listed = re.findall(r"^│ ([a-z]+) ", command(tmp_path, "--help").output, re.MULTILINE)
        assert {"run", "policy", "certs"} <= set(known)
        assert [name for name in known if name not in listed] == []

    def test_the_old_name_of_run_is_not_listed_and_has_its_help(self, tmp_path: Path) -> None:
        assert "serve " not in command(tmp_path, "--help").output.replace("Serve ", "")
        ended = command(tmp_path, "serve", "--help", COLUMNS="80")
        assert ended.code == 0
        assert "The old name of run. A later version removes it." in ended.output
        assert "--worker-timeout" in ended.output

    def test_no_line_of_a_sentence_begins_a_list(self, tmp_path: Path) -> None:
        # Help is Markdown: a line that begins with a number and a dot ends its sentence in a list.
        lines = command(tmp_path, "proto", "--help", COLUMNS="80").output.splitlines()
        assert [line for line in lines if re.match(r" +\d+ ", line)] == []

    def test_exit_codes_are_reported(self, tmp_path: Path) -> None:
        said = " ".join(command(tmp_path, "--help").output.split())
        assert "0 done, 1 the call or check failed, 2 usage, 3 start-up or bind" in said

    def test_version_is_printed(self, tmp_path: Path) -> None:
        ended = run_program(["-m", "fastrpc", "--version"], tmp_path, is_anew=True)
        assert ended.code == 0
        assert ended.output.startswith(f"fastrpc {fastrpc.__version__} (CPython ")

    @pytest.mark.parametrize("missing", ["typer", "rich"])
    def test_missing_extra_is_told_with_the_install_line(self, tmp_path: Path, missing: str) -> None:
        (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('gone', name={missing!r})")
        ended = run_program(["-m", "fastrpc", "--version"], tmp_path, is_anew=True)
        assert ended.code == 3
        assert ended.errors == (
            f"error: the command line needs {missing}, which is not installed\n"
            "hint: pip install 'fastrpc[cli]'\n"
        )

    def test_package_alone_loads_no_command_line(self, tmp_path: Path) -> None:
        (tmp_path / "look.py").write_text(
            "import sys, fastrpc\nprint({'typer', 'rich', 'fastrpc.cli'} & set(sys.modules))"
        )
        assert run_program(["look.py"], tmp_path, is_anew=True).output == "set()\n"
