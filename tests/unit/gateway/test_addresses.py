"""The addresses of a gateway, as they are given and printed."""

import pytest

from fastrpc import ConfigError
from fastrpc.gateway.addresses import http_addresses, http_url


def test_addresses_of_http_are_listened_at_and_printed_again() -> None:
    given = ["http://127.0.0.1:8080/", "HTTPS://[::1]:8443"]
    found = [str(one) for one in http_addresses(given)]
    assert found == ["tcp://127.0.0.1:8080", "tls://[::1]:8443"]
    assert [http_url(one) for one in found] == ["http://127.0.0.1:8080", "https://[::1]:8443"]


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:8080", "127.0.0.1:8080", "http:127.0.0.1:8080"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address of HTTP"):
        http_addresses([text])
