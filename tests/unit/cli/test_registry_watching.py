"""Lines about the events of a registry: foreign texts end no line, and cannot control the terminal."""

import json

import pytest

from fastrpc.cli.registry_watching import print_event
from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.events import RegistryEvent

HOSTILE = "\x1b[2J\u202e\u200b\n\x07"
ADDRESS = "tcp://10.0.0.1:8972"


def line_of(capsys: pytest.CaptureFixture[str], event: RegistryEvent, *, as_json: bool = False) -> str:
    print_event(event, "registry://127.0.0.1:1", as_json=as_json)
    return capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "event",
    [
        RegistryEvent("added", 1.0, HOSTILE, Endpoint(ADDRESS, labels={HOSTILE: HOSTILE}, zone=HOSTILE)),
        RegistryEvent(
            "changed",
            1.0,
            HOSTILE,
            Endpoint(ADDRESS, labels={HOSTILE: HOSTILE}, zone=HOSTILE),
            Endpoint(ADDRESS, version=HOSTILE),
        ),
        RegistryEvent("lost", 1.0, reason=HOSTILE),
    ],
)
def test_foreign_texts_are_escaped(
    event: RegistryEvent, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    line = line_of(capsys, event, as_json=as_json)
    assert not any(one in line for one in "\x1b\u202e\u200b\x07")
    assert line.count("\n") == 1
    if as_json:
        told = json.loads(line)
        assert HOSTILE in (told.get("service"), told.get("reason"))


def test_a_change_names_the_fields_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    before = Endpoint(ADDRESS, weight=1, version="1", labels={"a": "b", "c": "d"})
    after = Endpoint(ADDRESS, weight=0, version="1", labels={"a": "b", "state": "inactive"})
    line = line_of(capsys, RegistryEvent("changed", 1.0, "arith", after, before))
    assert line.endswith(f"arith  changed  {ADDRESS}  weight 1 → 0  c=d → –  state=– → inactive\n")
    told = json.loads(line_of(capsys, RegistryEvent("changed", 1.0, "arith", after, before), as_json=True))
    assert (told["weight"], told["before"]["weight"], told["before"]["labels"]) == (
        0,
        1,
        {"a": "b", "c": "d"},
    )


def test_an_outage_names_the_registry_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    lost, back = RegistryEvent("lost", 1.0, reason="connection refused"), RegistryEvent("back", 2.0)
    assert line_of(capsys, lost).endswith("registry  lost  registry://127.0.0.1:1: connection refused\n")
    assert line_of(capsys, back).endswith("registry  back  registry://127.0.0.1:1\n")
    assert json.loads(line_of(capsys, lost, as_json=True)) == {
        "time": 1.0,
        "kind": "lost",
        "reason": "connection refused",
    }
