"""Errors as commands print them: in words of the command line."""

import pytest

from fastrpc.cli.printing import describe_error
from fastrpc.client.reach_errors import SETTING_HINT
from fastrpc.errors import ConnectError


@pytest.mark.parametrize(
    ("message", "hint", "printed", "advice"),
    [
        (
            "tls://h:1: TLS.ca_file is '/nowhere/x.pem': No such file",
            SETTING_HINT,
            "tls://h:1: --ca is '/nowhere/x.pem': No such file",
            "correct this option",
        ),
        (
            "it demands a certificate",
            "set cert_file and key_file to others, my_key_file not",
            "it demands a certificate",
            "set --cert and --key to others, my_key_file not",
        ),
        (
            "no connection to tcp://h:1 within 5 s",
            "check the address, or raise Timeouts.connect if the network is slow",
            "no connection to tcp://h:1 within 5 s",
            "check the address, and that a server runs there",
        ),
    ],
)
def test_settings_of_a_client_are_named_as_options(
    message: str, hint: str, printed: str, advice: str
) -> None:
    text, told = describe_error(ConnectError(message, hint=hint))
    assert text == printed
    assert (told or "").startswith(advice)
