"""What is said about a server before it runs, and errors on their way between processes."""

import errno
import json
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import Plan, failure_to_values, values_to_failure

ADDRESS = Address.parse("tcp://127.0.0.1:0")


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_number_of_workers_is_checked(workers: int) -> None:
    with pytest.raises(ConfigError, match="workers is"):
        Plan(load=list, addresses=(ADDRESS,), workers=workers)


@pytest.mark.parametrize("kind", ["store", "broker"])
@pytest.mark.parametrize(
    "url", ["memory://shop", "sqlite:///var/lib/shop", "SQLite:///var/lib/shop?sync=normal"]
)
def test_store_or_broker_of_one_process_serves_no_more_workers(kind: str, url: str) -> None:
    resource: dict[str, Any] = {kind: url}
    with pytest.raises(ConfigError, match="which one process holds, and workers is 2") as caught:
        Plan(load=list, addresses=(ADDRESS,), workers=2, **resource)
    assert caught.value.hint is not None
    assert f"fastrpc {kind}" in caught.value.hint
    Plan(load=list, addresses=(ADDRESS,), **resource)
    Plan(load=list, addresses=(ADDRESS,), workers=2, **{kind: f"{kind}://127.0.0.1:8971"})


def test_addresses_are_needed() -> None:
    with pytest.raises(ConfigError, match="addresses is empty"):
        Plan(load=list, addresses=())


def test_advertised_addresses_replace_the_bound_ones_in_order() -> None:
    plan = Plan(load=list, addresses=(ADDRESS, ADDRESS), advertise=("tcp://10.0.0.7:1",))
    assert plan.advertised() == ["tcp://10.0.0.7:1", False]
    assert Plan(load=list, addresses=(ADDRESS, ADDRESS)).advertised() == [None, None]


def test_no_more_is_advertised_than_there_are_addresses() -> None:
    with pytest.raises(ConfigError, match="advertise has 2 addresses, the server listens at 1"):
        Plan(load=list, addresses=(ADDRESS,), advertise=("tcp://10.0.0.7:1", "tcp://10.0.0.7:2"))


def carried(error: BaseException) -> Exception:
    """Return an error as another process gets it."""
    return values_to_failure(json.loads(json.dumps(failure_to_values(error))))


def test_configuration_error_arrives_with_its_hint() -> None:
    error = carried(ConfigError("wrong", hint="right"))
    assert isinstance(error, ConfigError)
    assert (error.message, error.hint) == ("wrong", "right")


def test_system_error_arrives_with_its_number() -> None:
    error = carried(OSError(errno.EADDRINUSE, "taken"))
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror) == (errno.EADDRINUSE, "taken")


@pytest.mark.parametrize(
    ("original", "text"), [(LookupError("no table"), "LookupError: no table"), (OSError(), "OSError")]
)
def test_any_other_error_arrives_by_its_name(original: Exception, text: str) -> None:
    error = carried(original)
    assert isinstance(error, RuntimeError)
    assert str(error) == text


def test_traceback_goes_along() -> None:
    try:
        raise LookupError("no table")
    except LookupError as error:
        (note,) = carried(error).__notes__
    assert note.startswith("In a worker process:\nTraceback (most recent call last):\n")
    assert note.endswith("\nLookupError: no table\n")


def test_error_arrives_where_nothing_can_write_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.EMFILE, "Too many open files")

    def fail(error: BaseException) -> list[str]:
        raise full

    monkeypatch.setattr("traceback.format_exception", fail)
    error = carried(full)
    assert isinstance(error, OSError)
    assert error.errno == errno.EMFILE
    assert "no traceback" in error.__notes__[0]
