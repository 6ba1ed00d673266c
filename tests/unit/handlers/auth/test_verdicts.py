"""Verdicts that are kept."""

import pytest

from fastrpc.auth import Identity
from fastrpc.auth.verdict import BEARER, Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.verdicts import Verdicts
from fastrpc.peers.peer import Peer

pytestmark = pytest.mark.one_loop


async def only_encrypted(peer: Peer) -> Identity | None:
    is_accepted = peer.address.scheme == "tls" and peer.protocol == "native"
    return Identity("ada") if is_accepted else None


def peer(scheme: str, protocol: str) -> Peer:
    return Peer(Address(scheme, host="10.0.0.7", port=1), BEARER, "token", protocol=protocol)


@pytest.mark.parametrize(("scheme", "protocol"), [("tcp", "native"), ("tls", "http")])
async def test_a_token_accepted_by_a_function_for_one_scheme_and_protocol_is_not_accepted_for_another(
    scheme: str, protocol: str
) -> None:
    verdicts = Verdicts(only_encrypted, 20.0)
    answer = verdicts.about(peer("tls", "native"))
    assert not isinstance(answer, Verdict | Refusal)
    assert isinstance(await answer, Verdict)
    assert isinstance(verdicts.known(peer("tls", "native")), Verdict)
    assert verdicts.known(peer(scheme, protocol)) is None
    other = verdicts.about(peer(scheme, protocol))
    assert not isinstance(other, Verdict | Refusal)
    assert isinstance(await other, Refusal)
    verdicts.close()
