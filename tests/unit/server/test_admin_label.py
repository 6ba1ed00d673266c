"""The label of a record with the address of the admin pages: an address that readers can dial, or no label."""

import pytest

from fastrpc import ConfigError, Server, ServerConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.server.admin.label import with_pages
from tests.support.arith import Arith

pytestmark = pytest.mark.one_loop

LOOPBACK = "tcp://127.0.0.1:9099"
PUBLIC = "tcp://10.0.0.7:9099"
ANYWHERE = "tls://0.0.0.0:9099"


def label_of(record: str, bound: str | None, advertise: str | bool | None = None) -> str | None:
    made = with_pages(Endpoint(record), advertise, None if bound is None else Address.parse(bound))
    assert made.address == Endpoint(record).address
    return made.labels.get("admin")


@pytest.mark.parametrize(
    ("record", "bound", "label"),
    [
        ("tcp://10.0.0.7:8972", PUBLIC, PUBLIC),
        ("tcp://127.0.0.1:8972", PUBLIC, PUBLIC),
        ("tcp://127.0.0.1:8972", LOOPBACK, LOOPBACK),
        ("tcp://[::1]:8972", LOOPBACK, LOOPBACK),
        ("unix:///run/arith.sock", LOOPBACK, LOOPBACK),
        # No other machine can read them.
        ("tcp://10.0.0.7:8972", LOOPBACK, None),
        ("tls://arith.example:8972", "tcp://[::1]:9099", None),
        ("tcp://10.0.0.7:8972", ANYWHERE, "tls://10.0.0.7:9099"),
        ("tcp://arith.example:8972", "tcp://[::]:9099", "tcp://arith.example:9099"),
        ("tcp://[2001:db8::7]:8972", ANYWHERE, "tls://[2001:db8::7]:9099"),
        ("unix:///run/arith.sock", ANYWHERE, None),
        ("relay://relay.example:443/arith", ANYWHERE, None),
        ("tcp://127.0.0.1:8972", "unix:///run/admin.sock", None),
        ("tcp://127.0.0.1:8972", None, None),
    ],
)
def test_a_record_has_the_bound_address_where_its_readers_can_dial_it(
    record: str, bound: str | None, label: str | None
) -> None:
    assert label_of(record, bound) == label


def test_a_given_address_takes_the_place_of_the_bound_one() -> None:
    assert label_of("tcp://10.0.0.7:8972", LOOPBACK, "tls://pages.example:443") == "tls://pages.example:443"
    assert label_of("tcp://10.0.0.7:8972", ANYWHERE, "tcp://10.0.0.9:0") == "tcp://10.0.0.9:9099"


def test_no_label_is_wanted() -> None:
    assert label_of("tcp://10.0.0.7:8972", PUBLIC, False) is None


def test_other_labels_stay_and_a_label_of_the_program_is_not_replaced() -> None:
    bound = Address.parse(PUBLIC)
    record = Endpoint("tcp://10.0.0.7:8972", weight=5, labels={"a": "b"})
    made = with_pages(record, None, bound)
    assert (made.weight, dict(made.labels)) == (5, {"a": "b", "admin": PUBLIC})
    own = Endpoint("tcp://10.0.0.7:8972", labels={"admin": "ada"})
    assert with_pages(own, None, bound) is own


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"admin_advertise": PUBLIC}, "admin_advertise is set, but admin_address is None"),
        ({"admin_address": LOOPBACK, "admin_advertise": PUBLIC}, "the server has no registry"),
    ],
)
def test_an_advertised_address_without_effect_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Server(Arith(), config=ServerConfig(**settings))


@pytest.mark.parametrize("given", ["10.0.0.7", "tcp://0.0.0.0:1", "unix:///run/a.sock", "false"])
def test_an_advertised_address_must_be_one_to_dial(given: str) -> None:
    config = ServerConfig(admin_address=LOOPBACK, admin_advertise=given)
    with pytest.raises(ConfigError, match=r"^ServerConfig\.admin_advertise: "):
        Server(Arith(), config=config, registry="consul://127.0.0.1:1")


def test_no_label_needs_no_pages() -> None:
    assert Server(Arith(), config=ServerConfig(admin_advertise=False)) is not None
