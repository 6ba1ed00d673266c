"""HTTP clients of the package over TLS: the same checks, the same words."""

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastrpc import TLS
from fastrpc.bounded_http import BoundedHttpClient, HttpError, begin_get
from fastrpc.tls.ends import HttpEnd
from tests.support.certificates import Authority, Certificate

pytestmark = pytest.mark.one_loop


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body = b"42"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *parts: object) -> None:
        """Keep the output of tests clean."""


class Serving(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """These tests expect refused handshakes."""


@contextmanager
def serving(certificate: Certificate | None) -> Iterator[int]:
    with Serving(("127.0.0.1", 0), Answering) as server:
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.cert_file, certificate.key_file)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


def asked(port: int, tls: TLS) -> bytes:
    client = BoundedHttpClient("127.0.0.1", port, encrypt=HttpEnd(tls, "127.0.0.1").wrap)
    try:
        return client.request("GET", "/").body
    finally:
        client.close()


def test_an_answer_comes_over_tls(authority: Authority, server_certificate: Certificate) -> None:
    with serving(server_certificate) as port:
        assert asked(port, TLS(ca_file=authority.cert_file)) == b"42"


@pytest.mark.parametrize("size", [2, 50_000])
async def test_a_loop_awaits_an_answer_over_tls(
    authority: Authority, server_certificate: Certificate, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "body", b"4" * size)
    with serving(server_certificate) as port:
        end = HttpEnd(TLS(ca_file=authority.cert_file), "127.0.0.1")
        client = BoundedHttpClient("127.0.0.1", port, encrypt=end.wrap)
        await asyncio.to_thread(client.request, "GET", "/")
        assert [await begin_get(client, "/", {}) for _ in range(3)] == [b"4" * size] * 3
        client.close()


def test_a_server_identity_is_checked(authority: Authority) -> None:
    with serving(authority.certificate("URI:spiffe://corp/consul")) as port:
        accepted = TLS(ca_file=authority.cert_file, server_identities=("spiffe://corp/consul",))
        assert asked(port, accepted) == b"42"
        other = TLS(ca_file=authority.cert_file, server_identities=("spiffe://corp/other",))
        with pytest.raises(HttpError, match="server_identities has none of them"):
            asked(port, other)


@pytest.mark.parametrize(
    ("names", "told"),
    [("DNS:other.example", "another IP address"), ("", "it has no subjectAltName")],
)
def test_a_wrong_name_is_refused(authority: Authority, names: str, told: str) -> None:
    with serving(authority.certificate(names)) as port:
        with pytest.raises(HttpError, match=told):
            asked(port, TLS(ca_file=authority.cert_file))


def test_an_authority_that_is_not_trusted_is_refused(
    authority: Authority, stranger: Authority, server_certificate: Certificate
) -> None:
    with serving(server_certificate) as port:
        with pytest.raises(HttpError, match="its authority is not trusted"):
            asked(port, TLS(ca_file=stranger.cert_file))


def test_a_plain_server_is_named(authority: Authority) -> None:
    with serving(None) as port:
        with pytest.raises(
            HttpError, match="does not speak TLS|closed the connection during the TLS handshake"
        ):
            asked(port, TLS(ca_file=authority.cert_file))
