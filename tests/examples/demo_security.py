"""A part of the demonstration: a server with TLS, tokens and rules, made by options alone."""

import tempfile
from contextlib import closing
from pathlib import Path
from subprocess import run

from demo_process import Process, check, command, say
from demo_service import Demo

import fastrpc
from fastrpc.auth import TokenFile

__all__ = ["show_security"]

TOKENS = """
[[token]]
token = "secret-of-ada"
name = "ada"

[[token]]
token = "secret-of-eve"
name = "eve"
"""

POLICY = """
[[rule]]
who = ["*"]
allow = ["demo.*"]
deny = ["demo.count"]
"""

#: The options of the server, but for its address.
OPTIONS = (
    *("--tls-cert", "certs/server.pem", "--tls-key", "certs/server.key"),
    *("--tokens", "tokens.toml", "--policy", "policy.toml"),
)


def show_security() -> None:
    """Serve with TLS, tokens and rules; accept one caller, and refuse others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (
            ("tokens.toml", TOKENS),
            ("policy.toml", POLICY),
            ("ada", "secret-of-ada"),
            ("mallory", "guess"),
        ):
            (folder / file).write_text(text)
        run(command("certs", "dev", "certs", "--json"), cwd=folder, check=True, capture_output=True)
        arguments = ("run", "demo_service:Demo", "--address", "tls://127.0.0.1:0", *OPTIONS)
        with closing(Process(*arguments, folder=folder, log_level="critical")) as server:
            address = server.wait_started("addresses")
            show_token_over_tls(folder, address)
            show_refused_callers(folder, address)


def client_of(folder: Path, address: str, token: str | None) -> fastrpc.SyncClient:
    """Return a client that trusts the authority of the folder, and shows the token of a file there."""
    config = fastrpc.ClientConfig(tls=fastrpc.TLS(ca_file=folder / "certs" / "authority.pem"))
    credentials = None if token is None else TokenFile(folder / token)
    return fastrpc.SyncClient(address, credentials=credentials, config=config)


def show_token_over_tls(folder: Path, address: str) -> None:
    """Call with a token, from a program and from the command line."""
    say("TLS with a token: fastrpc run demo_service:Demo --tls-cert … --tls-key … --tokens … --policy …")
    with client_of(folder, address, "ada") as ada:
        check(ada.call(Demo.mul, 6, 7) == 42, f'Client("{address}", credentials=TokenFile("ada"))')
    shown = ("--ca", "certs/authority.pem", "--token-file", "ada")
    done = run(
        command("call", address, "demo.mul", "6", "7", *shown), cwd=folder, capture_output=True, text=True
    )
    check(done.stdout == "42\n", f"fastrpc call {address} demo.mul 6 7 {' '.join(shown)}")


def show_refused_callers(folder: Path, address: str) -> None:
    """Call with insufficient credentials, and call forbidden methods."""
    say("Refused callers: no handler starts")
    for token, method, status in (
        (None, "demo.mul", "UNAUTHENTICATED"),
        ("mallory", "demo.mul", "UNAUTHENTICATED"),
        ("ada", "demo.count", "PERMISSION_DENIED"),
    ):
        shown = "no token" if token is None else f"the token of {token}"
        with client_of(folder, address, token) as caller:
            try:
                caller.call(method, *((6, 7) if method == "demo.mul" else ("mul",)))
            except fastrpc.FastRPCError as error:
                is_so = error.status.name == status and error.processed == "no"
                check(is_so, f"{method} with {shown}: {error}")
            else:
                check(False, f"{method} with {shown} is refused")
    with fastrpc.SyncClient(address) as stranger:
        try:
            stranger.call(Demo.mul, 6, 7)
        except fastrpc.ConnectError as error:
            check(
                "certificate" in str(error),
                f"a client without the authority does not trust the server: {error}",
            )
        else:
            check(False, "a client without the authority trusts nobody")
