"""What differs between the protocols with these frames."""

import pytest

from fastrpc._core.rpcx.profile import PHOBOS, RPCX, Profile

FLAGS = dict.fromkeys(
    ("closes_on_refusal", "compresses", "states_deadlines", "proves_heartbeats", "is_loose"), True
)


def test_rpcx_closes_on_a_refused_token_and_compresses() -> None:
    assert (RPCX.name, RPCX.magic, RPCX.error_key) == ("rpcx", 0x08, b"__rpcx_error__")
    assert RPCX.unknown_names == (b"rpcx: can't find service ", b"rpcx: can't find method ")
    assert RPCX.closes_on_refusal
    assert RPCX.compresses
    assert RPCX.states_deadlines
    assert not RPCX.proves_heartbeats


def test_phobos_has_its_own_magic_and_texts_and_does_none_of_these() -> None:
    assert (PHOBOS.name, PHOBOS.magic, PHOBOS.error_key) == ("phobos", 0x42, b"__phobos_error__")
    assert PHOBOS.unknown_names == (b"phobos: can't find service ", b"phobos: can't find method ")
    assert not PHOBOS.closes_on_refusal
    assert not PHOBOS.compresses
    assert not PHOBOS.states_deadlines
    assert PHOBOS.proves_heartbeats


def test_only_a_protocol_whose_peers_set_bits_without_care_takes_any_magic() -> None:
    assert (RPCX.is_loose, RPCX.checked_magic) == (False, 0x08)
    assert (PHOBOS.is_loose, PHOBOS.checked_magic) == (True, -1)


def test_a_profile_does_not_change() -> None:
    with pytest.raises(AttributeError):
        RPCX.magic = 0x42  # type: ignore[misc]


def test_a_profile_has_a_name_and_says_what_it_does() -> None:
    with pytest.raises(TypeError):
        Profile(None, 1, **FLAGS)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Profile("other", 1)  # type: ignore[call-arg]
