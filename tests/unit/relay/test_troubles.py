"""Failed claims in words, and their log."""

import errno
import logging

import pytest

from fastrpc import Address, CallError, ConfigError, ConnectError, FastRPCError, Status, UnavailableError
from fastrpc.relay.place import RelayPlace
from fastrpc.relay.told import ToldReasons
from fastrpc.relay.troubles import ClaimLog, ClaimTrouble, start_error, trouble_of

EDGE = Address.parse("relay://relay.example:8443/edge-7")
PLACE = RelayPlace(EDGE)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def untrusted() -> ConnectError:
    error = ConnectError("cannot connect to tls://relay.example:8443: its authority is not trusted")
    error.is_lasting = True
    return error


@pytest.mark.parametrize(
    ("failure", "number", "is_lasting"),
    [
        (CallError(Status.UNAUTHENTICATED, "no"), errno.EPERM, True),
        (CallError(Status.PERMISSION_DENIED, "no"), errno.EPERM, True),
        (CallError(Status.UNIMPLEMENTED, "no"), errno.EPROTONOSUPPORT, True),
        (CallError(Status.ALREADY_EXISTS, "no"), errno.EADDRINUSE, False),
        (CallError(Status.RESOURCE_EXHAUSTED, "no"), errno.ENOSPC, False),
        (ConfigError("no"), errno.EINVAL, True),
        (untrusted(), errno.EPROTO, True),
        (CallError(Status.ABORTED, "taken over"), None, False),
        (ConnectError("cannot connect: connection refused"), None, False),
        (UnavailableError("the relay ended it"), None, False),
    ],
)
def test_a_trouble_tells_whether_an_operator_has_to_end_it(
    failure: FastRPCError, number: int | None, is_lasting: bool
) -> None:
    found = trouble_of(failure, PLACE)
    assert (found.number, found.is_lasting) == (number, is_lasting)
    assert failure.message in found.text
    if is_lasting and not isinstance(failure, ConfigError) and failure.status is not Status.PERMISSION_DENIED:
        # The relay itself names the right that is missing.
        assert found.hint


def test_a_refusal_is_one_reason_whether_a_claim_waited_for_the_connection_or_not() -> None:
    refusal = "tls://relay.example:8443 refused the credentials"
    texts = [refusal, f"fastrpc.relay.claim: {refusal}"]
    assert len({trouble_of(CallError(Status.UNAUTHENTICATED, text), PLACE) for text in texts}) == 1


def test_a_refused_token_names_the_file_to_look_at() -> None:
    refused = CallError(Status.UNAUTHENTICATED, "no")
    assert "--token-file FILE" in trouble_of(refused, PLACE).text
    place = RelayPlace(EDGE)
    place.credentials = lambda: "token"  # type: ignore[assignment]
    assert "a token of the relay's --tokens file" in trouble_of(refused, place).text


def test_the_error_of_a_start_has_the_way_out() -> None:
    error = start_error(trouble_of(CallError(Status.UNAUTHENTICATED, "no"), PLACE), EDGE)
    assert isinstance(error, PermissionError)
    assert f"cannot listen at {EDGE}: the relay refuses: no" in str(error)
    assert error.__notes__[0].startswith("hint: give the server its token")


def test_a_reason_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    log = ClaimLog(EDGE, clock)
    with caplog.at_level(logging.INFO, "fastrpc.relay"):
        for milliseconds in range(100, 150):
            log.lost(ClaimTrouble(f"cannot connect to tls://a:1 (0.{milliseconds} s)"), stood=True)
        assert [record.getMessage() for record in caplog.records] == [
            f"{EDGE}: the claim is lost, and made again: cannot connect to tls://a:1 (0.100 s)"
        ]
        caplog.clear()
        log.lost(ClaimTrouble("the relay refuses: no", "mend it", errno.EPERM, True), stood=True)
        assert "the relay refuses: no (mend it)" in caplog.text
        assert caplog.records[0].levelno == logging.ERROR
        caplog.clear()
        clock.now = 60.0
        log.lost(ClaimTrouble("cannot connect to tls://a:1 (0.200 s)"), stood=True)
        assert "(49 more times since the last line)" in caplog.text


def test_alternating_reasons_and_claims_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ClaimLog(EDGE, Clock())
    with caplog.at_level(logging.INFO, "fastrpc.relay"):
        for _ in range(50):
            log.lost(ClaimTrouble("the relay ended it"), stood=False)
            log.lost(ClaimTrouble("connection refused"), stood=True)
            log.stands()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert "the name is not claimed yet" in caplog.text
    assert "claimed again" in caplog.text


def test_the_reasons_that_are_known_are_bounded() -> None:
    told = ToldReasons(Clock())
    for number in range(3_000):
        assert told.note(number) == 0
    assert told.note(2_999) is None
    assert told.note(0) == 0
    assert len(told._told) <= 1_000
