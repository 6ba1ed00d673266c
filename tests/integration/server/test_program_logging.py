"""Logging under `fastrpc run`: configuration by the program is kept, at any time, as under `serve`."""

import json
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from fastrpc import CallError, Status, SyncClient
from tests.support.program import command_line

PROGRAM = """
import contextlib
import logging
import logging.config
import sys

import fastrpc

def configure():
    {configured}

@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def crash(self) -> str:
        if "{place}" == "in a handler":
            configure()
        logging.getLogger("mine").info("fine")
        logging.getLogger("mine").warning("odd")
        raise ValueError("swordfish")

def app() -> fastrpc.App:
    configure()
    return fastrpc.App([Texts])

def source() -> Texts:
    configure()
    return Texts()

def late_module() -> Texts:
    import late
    return Texts()

@contextlib.asynccontextmanager
async def context():
    configure()
    yield [Texts()]

if "{place}" == "at import":
    configure()
"""

#: Where a program configures its logging, and the object that `fastrpc run` serves then.
PLACES = {
    "at import": "Texts",
    "in the function of the app": "app",
    "in a source": "source",
    "in a module that a source imports": "late_module",
    "in a context manager": "context",
    "in a handler": "Texts",
    "nowhere": "Texts",
}

#: The records of one run.
RECORDS = ("fine", "odd", "texts.crash failed", "the drain began")

MINE = "format='MINE %(levelname)s %(message)s'"

DICTIONARY = (
    "logging.config.dictConfig({{'version': 1, 'disable_existing_loggers': {disables}, "
    "'formatters': {{'mine': {{'format': 'MINE %(levelname)s %(message)s'}}}}, "
    "'handlers': {{'all': {{'class': 'logging.StreamHandler', 'formatter': 'mine'}}}}, "
    "'root': {{'level': '{level}', 'handlers': ['all']}}}})"
)

HANDLER = (
    "handler = logging.StreamHandler(); "
    "handler.setFormatter(logging.Formatter('MINE %(levelname)s %(message)s')); "
)


class Logged(NamedTuple):
    """The standard error of one run, from its start over one crash to its end."""

    #: Records written by handlers of the program, and by handlers of `fastrpc run`.
    mine: list[str]
    ours: list[str]


def logged(folder: Path, place: str, configured: str, *options: str) -> Logged:
    """Run a program that configures its logging in this place."""
    (folder / "logs.py").write_text(PROGRAM.format(configured=configured or "pass", place=place))
    (folder / "late.py").write_text("import logs\n\nlogs.configure()\n")
    address = f"unix://{folder / 'socket'}"
    with command_line(["run", f"logs:{PLACES[place]}", "--address", address, *options], folder) as program:
        with SyncClient(address) as client, pytest.raises(CallError) as failed:
            client.with_options(timeout=20, wait_for_ready=True).call("texts.crash")
        assert failed.value.status is Status.INTERNAL
        program.signal(signal.SIGTERM)
        done = program.wait()
    assert done.code == 0, done
    found = re.findall(rf"^(.*?)({'|'.join(RECORDS)})", done.errors, re.MULTILINE)
    mine = [text for before, text in found if before.startswith("MINE ")]
    return Logged(mine, [text for before, text in found if not before.startswith("MINE ")])


CRASH, LIFE = "texts.crash failed", "the drain began"


@pytest.mark.parametrize("place", [place for place in PLACES if place != "nowhere"])
def test_logging_configured_without_a_level_is_kept_at_every_place(place: str, tmp_path: Path) -> None:
    # The root logger's own level is WARNING, so that is the level of this configuration.
    assert logged(tmp_path, place, f"logging.basicConfig({MINE})") == Logged(["odd", CRASH], [])


@pytest.mark.parametrize(
    ("place", "configured", "mine"),
    [
        ("in a source", f"logging.basicConfig(level=logging.ERROR, {MINE})", [CRASH]),
        (
            "in the function of the app",
            f"logging.basicConfig(level='INFO', {MINE})",
            ["fine", "odd", CRASH, LIFE],
        ),
        (
            "in a source",
            f"logging.basicConfig(level='INFO', force=True, {MINE})",
            ["fine", "odd", CRASH, LIFE],
        ),
        (
            "in the function of the app",
            DICTIONARY.format(disables=False, level="INFO"),
            ["fine", "odd", CRASH, LIFE],
        ),
        ("in a source", DICTIONARY.format(disables=False, level="WARNING"), ["odd", CRASH]),
        # This happens to a program whose configuration disables the existing loggers.
        ("in a source", DICTIONARY.format(disables=True, level="INFO"), ["fine", "odd"]),
        ("at import", DICTIONARY.format(disables=True, level="INFO"), ["fine", "odd"]),
        (
            "in a source",
            HANDLER + "logging.root.handlers = [handler]; logging.root.setLevel('ERROR')",
            [CRASH],
        ),
    ],
)
def test_the_level_of_a_configuration_is_kept(
    place: str, configured: str, mine: list[str], tmp_path: Path
) -> None:
    assert logged(tmp_path, place, configured) == Logged(mine, [])


@pytest.mark.parametrize(
    ("configured", "mine"),
    [
        (
            HANDLER + "ours = logging.getLogger('fastrpc'); ours.addHandler(handler); ours.setLevel('ERROR')",
            [CRASH],
        ),
        (
            HANDLER
            + "ours = logging.getLogger('fastrpc.server'); ours.handlers = [handler]; ours.setLevel('INFO'); "
            "ours.propagate = False",
            [CRASH, LIFE],
        ),
    ],
)
def test_a_handler_of_our_loggers_alone_takes_only_their_records(
    configured: str, mine: list[str], tmp_path: Path
) -> None:
    assert logged(tmp_path, "in a source", configured) == Logged(mine, ["fine", "odd"])


@pytest.mark.parametrize("options", [(), ("--log-level", "info")], ids=["no level", "a level"])
def test_workers_follow_the_configuration_of_the_function_of_the_app(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    configured = f"logging.basicConfig(level=logging.WARNING, {MINE})"
    found = logged(tmp_path, "in the function of the app", configured, "--workers", "2", *options)
    assert found == Logged(["odd", CRASH, LIFE] if options else ["odd", CRASH], [])


def test_workers_follow_the_configuration_of_a_source(tmp_path: Path) -> None:
    configured = f"logging.basicConfig(level=logging.ERROR, {MINE})"
    # The supervisor opens no source: `fastrpc run` writes the reports on the life of the server.
    assert logged(tmp_path, "in a source", configured, "--workers", "2") == Logged([CRASH], [LIFE])


@pytest.mark.parametrize("place", ["at import", "in a source"])
def test_a_level_that_is_demanded_counts_for_our_records(place: str, tmp_path: Path) -> None:
    configured = f"logging.basicConfig(level=logging.WARNING, {MINE})"
    found = logged(tmp_path, place, configured, "--log-level", "info")
    assert found == Logged(["odd", CRASH, LIFE], [])
    found = logged(tmp_path, place, f"logging.basicConfig(level='INFO', {MINE})", "--log-level", "error")
    assert found == Logged(["fine", "odd", CRASH], [])


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ((), ["fine", "odd", CRASH, LIFE]),
        (("--log-level", "error"), [CRASH]),
        (("--workers", "2"), ["fine", "odd", CRASH, LIFE]),
    ],
)
def test_without_a_configuration_records_of_the_level_go_to_standard_error(
    options: tuple[str, ...], ours: list[str], tmp_path: Path
) -> None:
    assert logged(tmp_path, "nowhere", "", *options) == Logged([], ours)


def test_a_level_that_the_program_gives_the_root_logger_stands_without_a_handler(tmp_path: Path) -> None:
    found = logged(tmp_path, "at import", "logging.getLogger().setLevel(logging.ERROR)")
    assert found == Logged([], [CRASH])
    found = logged(tmp_path, "in a source", "logging.getLogger().setLevel(logging.WARNING)")
    assert found == Logged([], ["odd", CRASH])


def test_a_configuration_of_info_tells_where_the_server_listens_once(tmp_path: Path) -> None:
    (tmp_path / "logs.py").write_text(
        PROGRAM.format(configured=f"logging.basicConfig(level='INFO', {MINE})", place="")
    )
    address = f"unix://{tmp_path / 'socket'}"
    with command_line(["run", "logs:source", "--address", address], tmp_path) as program:
        program.wait_output("^serving at")
        program.signal(signal.SIGTERM)
        errors = program.wait().errors
    assert errors.count("listening at unix://") == errors.count("MINE INFO listening at unix://") == 1


# JSON


ACCESS = """
import logging
import sys

import fastrpc
from fastrpc.interceptors import AccessLog

{configured}

@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def crash(self) -> str:
        logging.getLogger("mine").warning("two\\nlines", extra={{"tenant": "acme"}})
        raise ValueError("swordfish\\n\\x1b[31m")

app = fastrpc.App([Texts], interceptors=[AccessLog()])
"""


def errors_of_a_run(
    folder: Path, *options: str, configured: str = "pass", environment: dict[str, str] | None = None
) -> str:
    """Return the standard error of a program from its start over one crash to its end."""
    (folder / "logs.py").write_text(ACCESS.format(configured=configured))
    address = f"unix://{folder / 'socket'}"
    command = ["run", "logs:app", "--address", address, *options]
    with command_line(command, folder, environment or {}) as program:
        with SyncClient(address) as client, pytest.raises(CallError):
            client.with_options(timeout=20, wait_for_ready=True).call("texts.crash")
        program.signal(signal.SIGTERM)
        done = program.wait()
    assert done.code == 0, done
    return done.errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("options", "environment"),
    [(("--log-format", "json"), {}), (("--log-format", "JSON"), {}), ((), {"FASTRPC_LOG_FORMAT": "json"})],
    ids=["option", "capitals", "environment"],
)
def test_each_record_is_a_line_of_json_with_its_fields(
    workers: str, options: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    errors = errors_of_a_run(tmp_path, *options, "--workers", workers, environment=environment)
    found = [json.loads(each) for each in errors.splitlines()]
    events = [one.get("event") for one in found]
    assert [event for event in events if event in ("listening", "drain_began", "drain_ended")] == [
        "listening",
        "drain_began",
        "drain_ended",
    ]
    (access,) = [one for one in found if one["logger"] == "fastrpc.access"]
    assert (access["method"], access["status"]) == ("texts.crash", "INTERNAL")
    assert access["request_id"]
    (crash,) = [one for one in found if "exception" in one]
    assert crash["error_id"]
    assert "swordfish" in crash["exception"]
    (mine,) = [one for one in found if one["logger"] == "mine"]
    assert (mine["message"], mine["tenant"]) == ("two\nlines", "acme")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one["time"]) for one in found)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_with_json_logs_the_addresses_are_a_json_line_too(workers: str, tmp_path: Path) -> None:
    (tmp_path / "logs.py").write_text(ACCESS.format(configured=""))
    address = f"unix://{tmp_path / 'socket'}"
    command = ["run", "logs:app", "--address", address, "--log-format", "json", "--workers", workers]
    with command_line(command, tmp_path) as program:
        program.wait_output(r"\n")
        program.signal(signal.SIGTERM)
        done = program.wait()
    (started,) = [json.loads(line) for line in done.output.splitlines()]
    assert (started["addresses"], list(started["services"])) == ([address], ["texts"])


def test_the_programs_logging_configuration_is_kept_with_json_logs(tmp_path: Path) -> None:
    errors = errors_of_a_run(
        tmp_path, "--log-format", "json", configured=f"logging.basicConfig(level='INFO', {MINE})"
    )
    assert "MINE INFO texts.crash INTERNAL" in errors
    assert '"logger"' not in errors


def test_a_program_that_cannot_start_says_so_in_json(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no database')\n")
    with command_line(["run", "broken:app", "--log-format", "json"], tmp_path) as program:
        done = program.wait()
    assert done.code == 3
    (found,) = [json.loads(each) for each in done.errors.splitlines()]
    assert found["level"] == "ERROR"
    assert "no database" in found["message"]


def test_another_format_is_refused(tmp_path: Path) -> None:
    with command_line(["run", "logs:app", "--log-format", "xml"], tmp_path) as program:
        done = program.wait()
    assert done.code == 2
    assert "no log format 'xml'" in done.errors
    assert "text, json" in done.errors
