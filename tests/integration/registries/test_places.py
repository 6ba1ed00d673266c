"""Where a program runs, in its records: of a Server, of an App, by flags, variables and the settings file."""

from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import App, ConfigError, Endpoint, Place, Server, SyncClient
from fastrpc.coordination import RegistryService
from fastrpc.registries import StaticRegistry
from fastrpc.registries.base.record import decode_record
from tests.support.program import Program, command_line, run_program

pytestmark = pytest.mark.one_loop

PROGRAM = """
import fastrpc


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


placed = fastrpc.App([Arith], place=fastrpc.Place(zone="of-the-app", region="west", weight=2))
"""

TABLE = """
app = "program:Arith"
zone = "a"
latitude = 1.5
longitude = 2.5
label = ["tier=fast", "rack=7"]
weight = 5
"""


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


def only(registry: StaticRegistry) -> Endpoint:
    with registry.watch("arith") as watch:
        assert watch.latest is not None
        (endpoint,) = watch.latest.endpoints
        return endpoint


async def test_the_records_of_a_server_have_its_place() -> None:
    registry = StaticRegistry()
    place = Place(zone="a", region="west", labels={"tier": "fast"}, weight=3)
    async with Server(Arith, registry=registry, place=place) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        found = only(registry)
        assert (found.address, found.zone, found.weight) == (address, "a", 3)
        assert found.labels == {"tier": "fast", "region": "west"}


async def test_an_advertised_address_has_it_and_an_endpoint_its_own() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry, place=Place(zone="a")) as server:
        bound = await server.listen("tcp://127.0.0.1:0", advertise="tcp://10.0.0.7:0")
        assert (str(only(registry)), only(registry).zone) == (f"tcp://10.0.0.7:{bound.port}", "a")
    async with Server(Arith, registry=registry, place=Place(zone="a")) as server:
        await server.listen("tcp://127.0.0.1:0", advertise=Endpoint("tcp://10.0.0.7:1", weight=4))
        assert (only(registry).zone, only(registry).weight) == ("", 4)


async def test_without_a_place_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRPC_ZONE", "b")
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert only(registry).zone == "b"


@pytest.mark.parametrize(
    "make", [lambda place: Server(Arith, place=place), lambda place: App(Arith, place=place)]
)
def test_other_values_than_a_place_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"place is 'a', it must be a fastrpc\.Place"):
        make("a")


def test_a_place_is_given_once() -> None:
    app = App(Arith, place=Place(zone="a"))
    with pytest.raises(ConfigError, match="place is given together with an App"):
        fastrpc.serve(app, place=Place(zone="b"))


def registered(url: str) -> Endpoint:
    with SyncClient(url.replace("registry://", "tcp://")) as client:
        (record,) = client.call(RegistryService.watch, "arith").records
        return decode_record(record)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("app", "flags", "variables", "expected"),
    [
        (
            "Arith",
            "--zone a --region west --label tier=fast --label rack=7 --weight 3",
            {},
            ("a", 3, {"tier": "fast", "rack": "7", "region": "west"}),
        ),
        ("placed", "", {}, ("of-the-app", 2, {"region": "west"})),
        ("placed", "--zone b", {"FASTRPC_WEIGHT": "7"}, ("b", 7, {"region": "west"})),
        ("Arith", "", {"FASTRPC_ZONE": "c", "FASTRPC_LABEL": "a=1, b=2"}, ("c", 1, {"a": "1", "b": "2"})),
    ],
)
def test_the_command_line_says_where_a_program_runs(
    tmp_path: Path, workers: str, app: str, flags: str, variables: dict[str, str], expected: tuple[Any, ...]
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as registry:
        url = registry.wait_output(r"registry at (\S+)\n")[1]
        options = ["--registry", url, "--address", "tcp://127.0.0.1:0", "--workers", workers, *flags.split()]
        with command_line(["run", f"program:{app}", *options], tmp_path, variables) as program:
            program.wait_output(r"serving at (\S+)")
            found = registered(url)
    assert (found.zone, found.weight, dict(found.labels)) == expected


def test_the_settings_file_has_the_same_keys(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "fastrpc.toml").write_text(TABLE)
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as registry:
        url = registry.wait_output(r"registry at (\S+)\n")[1]
        options = ["--registry", url, "--address", "tcp://127.0.0.1:0", "--config", "fastrpc.toml"]
        with command_line(["run", *options], tmp_path) as program:
            program.wait_output(r"serving at (\S+)")
            found = registered(url)
    labels = {"tier": "fast", "rack": "7", "latitude": "1.5", "longitude": "2.5"}
    assert (found.zone, found.weight, dict(found.labels)) == ("a", 5, labels)


@pytest.mark.parametrize(
    ("flags", "variables", "error"),
    [
        ("--label tier", {}, "'tier' is not a label"),
        ("", {"FASTRPC_LATITUDE": "91", "FASTRPC_LONGITUDE": "0"}, "FASTRPC_LATITUDE: latitude is 91.0"),
        ("", {"FASTRPC_LATITUDE": "1"}, "the place has no longitude"),
        ("--weight -1", {}, "--weight"),
    ],
)
def test_wrong_values_are_told_before_anything_is_served(
    tmp_path: Path, flags: str, variables: dict[str, str], error: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    finished = run_program(["-m", "fastrpc", "run", "program:Arith", *flags.split()], tmp_path, variables)
    assert finished.code == 2
    assert error in finished.errors
