"""What differs between the protocols with these frames."""

import pytest

from fastrpc._core.rpcx.profile import PHOBOS, RPCX, Profile


def test_rpcx_closes_on_a_refused_token_and_compresses_answers() -> None:
    assert (RPCX.name, RPCX.magic, RPCX.error_key) == ("rpcx", 0x08, b"__rpcx_error__")
    assert RPCX.closes_on_refusal
    assert RPCX.compresses_answers


def test_phobos_has_its_own_magic_and_error_key_and_does_neither() -> None:
    assert (PHOBOS.name, PHOBOS.magic, PHOBOS.error_key) == ("phobos", 0x42, b"__phobos_error__")
    assert not PHOBOS.closes_on_refusal
    assert not PHOBOS.compresses_answers


def test_a_profile_does_not_change() -> None:
    with pytest.raises(AttributeError):
        RPCX.magic = 0x42  # type: ignore[misc]


def test_a_profile_has_a_name_and_says_what_it_does() -> None:
    with pytest.raises(TypeError):
        Profile(None, 1, closes_on_refusal=True, compresses_answers=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Profile("other", 1)  # type: ignore[call-arg]
