"""Claims that fail until an operator changes something: at a start, and in the log afterwards."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc import ConfigError, Server, ServerConfig
from fastrpc.auth import Policy, StaticTokens
from fastrpc.config import Backoff
from fastrpc.endpoint import Address
from fastrpc.relay import listener
from fastrpc.relay.listener import RelayListener
from fastrpc.relay.server import RelayServer
from fastrpc.relay.troubles import ClaimTrouble
from fastrpc.transports.base import ListenOptions
from tests.support.arith import Arith
from tests.support.certificates import Authority
from tests.support.relayed import EDGE_RULES, RelayFiles, relaying
from tests.support.waiting import eventually


def server_of(files: RelayFiles, **options: Any) -> Server:
    return Server(Arith, config=ServerConfig(tls=files.edge.tls()), **options)


@asynccontextmanager
async def relay_with(files: RelayFiles, tokens: Path, policy: Path) -> AsyncIterator[RelayServer]:
    """Run a relay whose tokens and rules are in files."""
    relay = RelayServer(
        "tls://127.0.0.1:0",
        name="localhost",
        tls=files.relay.tls(),
        authenticate=StaticTokens.from_file(tokens),
        policy=Policy.from_file(policy),
    )
    async with relay:
        yield relay


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text('[[token]]\ntoken = "token-of-edge"\nname = "edge"\n')
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = ["edge"]\nrelay = ["edge-*"]\n')
    return path


# The start


@pytest.mark.parametrize("options", ["", "?ca_file={other}"])
async def test_a_relay_that_is_not_trusted_fails_the_start(
    options: str, files: RelayFiles, tmp_path: Path
) -> None:
    other = Authority(tmp_path).cert_file
    async with relaying(files) as relay, server_of(files) as server:
        with pytest.raises(OSError, match="its authority is not trusted") as refused:
            await server.listen(relay.target() + options.format(other=other))
        assert "?ca_file=" in refused.value.__notes__[0]


async def test_a_relay_of_another_name_fails_the_start(files: RelayFiles) -> None:
    relay = RelayServer(
        "tls://127.0.0.1:0", name="relay.example", tls=files.relay.tls(), authenticate=files.tokens
    )
    async with relay, server_of(files) as server:
        with pytest.raises(OSError, match="it does not know the host name") as refused:
            await server.listen(f"relay://localhost:{relay._address.port}/edge-7{files.options()}")
        assert "--name" in refused.value.__notes__[0]


async def test_a_server_that_is_no_relay_fails_the_start(files: RelayFiles) -> None:
    other = Server(Arith, config=ServerConfig(tls=files.relay.tls()))
    async with other, server_of(files) as server:
        place = await other.listen("tls://127.0.0.1:0")
        with pytest.raises(OSError, match="cannot listen at relay://localhost") as refused:
            await server.listen(f"relay://localhost:{place.port}/edge-7{files.options()}")
        assert f"is tls://localhost:{place.port} the port of `fastrpc relay`?" in refused.value.__notes__[0]


async def test_a_refused_token_fails_the_start_and_names_its_file(files: RelayFiles, tmp_path: Path) -> None:
    stolen = tmp_path / "token"
    stolen.write_text("stolen")
    async with relaying(files) as relay, server_of(files) as server:
        for token, hint in ((f"&token_file={stolen}", "the token file of the server"), ("", "--token-file")):
            with pytest.raises(PermissionError, match="the relay refuses") as refused:
                await server.listen(f"{relay.target()}?ca_file={files.authority.cert_file}{token}")
            assert hint in refused.value.__notes__[0]


async def test_a_refused_name_names_the_right_that_is_missing(files: RelayFiles) -> None:
    async with relaying(files) as relay, server_of(files) as server:
        with pytest.raises(PermissionError, match=r"reader may not claim 'edge-7'.*relay = \[\"edge-7\"\]"):
            await server.listen(relay.target() + files.options("reader"))


async def test_a_certificate_for_another_name_fails_the_start(files: RelayFiles) -> None:
    async with relaying(files) as relay, server_of(files) as server:
        with pytest.raises(
            ConfigError, match=r"is for edge-7\.localhost, and callers ask for edge-8\.localhost"
        ):
            await server.listen(relay.target("edge-8") + files.options())
        assert not relay.front.claims.by_name


async def test_one_of_two_relays_that_refuses_fails_the_start(files: RelayFiles) -> None:
    async with relaying(files) as first, relaying(files, rules=EDGE_RULES[1:]) as second:
        async with server_of(files) as server:
            await server.listen(first.target() + files.options())
            with pytest.raises(PermissionError):
                await server.listen(second.target() + files.options())


# Afterwards


async def test_a_revoked_token_is_logged_once(
    files: RelayFiles,
    tokens: Path,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(listener, "_LASTING_BACKOFF", Backoff(first=0.01, longest=0.01))
    async with relay_with(files, tokens, policy) as relay, server_of(files) as server:
        await server.listen(f"{relay.url}/edge-7{files.options()}")
        claims = relay.front.claims
        tokens.write_text('[[token]]\ntoken = "token-of-other"\nname = "other"\n')
        relay.reload()
        claims.leave(claims.by_name["edge-7"])
        refused: list[object] = []
        in_words = listener.trouble_of

        def noted(failure: Any, place: Any) -> ClaimTrouble:
            refused.append(failure)
            return in_words(failure, place)

        monkeypatch.setattr(listener, "trouble_of", noted)
        await eventually(lambda: len(refused) >= 10)
        lines = [record for record in caplog.records if record.name == "fastrpc.relay"]
        told = [record.getMessage() for record in lines if "the relay refuses" in record.getMessage()]
        assert len(told) == 1
        assert "the token file of the server must hold a token of the relay's --tokens file" in told[0]


async def test_a_mended_file_is_taken_at_a_reload(
    files: RelayFiles,
    tokens: Path,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(listener, "_LASTING_BACKOFF", Backoff(first=1_000.0, longest=1_000.0))
    async with relay_with(files, tokens, policy) as relay, server_of(files) as server:
        await server.listen(f"{relay.url}/edge-7{files.options()}")
        claims, rules = relay.front.claims, policy.read_text()
        policy.write_text('[[rule]]\nwho = ["edge"]\nrelay = ["shop"]\n')
        relay.reload()
        claims.leave(claims.by_name["edge-7"])
        await eventually(lambda: "may not claim 'edge-7'" in caplog.text)
        policy.write_text(rules)
        relay.reload()
        assert not claims.by_name
        server.reload()
        await eventually(lambda: "edge-7" in claims.by_name)


async def test_refusals_of_one_identity_are_logged_once_at_the_relay(
    files: RelayFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        with caplog.at_level(logging.INFO, "fastrpc.audit"):
            async with server_of(files) as server:
                for _ in range(5):
                    with pytest.raises(PermissionError, match="another server has claimed"):
                        await server.listen(relay.target() + files.options("other"))
        assert caplog.text.count("a claim is refused") == 1


@pytest.mark.parametrize(("is_lasting", "longest"), [(True, 60.0), (False, 5.0)])
async def test_pauses_grow_after_a_failed_claim_of_any_length(
    is_lasting: bool, longest: float, files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A dial without an answer takes longer than a claim has to stand.
    monkeypatch.setattr(listener, "_STEADY_SECONDS", 0.0)
    pauses: list[float] = []

    class Failing(RelayListener):
        async def _held(self, client: Any) -> ClaimTrouble:
            return ClaimTrouble("no", is_lasting=is_lasting)

        async def _pause(self, seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 20:
                raise ConfigError("enough")

    async with relaying(files) as relay:
        address = Address.parse(relay.target() + files.options())
        options = ListenOptions(tls=files.edge.tls())
        with pytest.raises(ConfigError, match="enough"):
            await Failing(address, asyncio.BufferedProtocol, options).open()
    assert pauses[0] < 2.0
    assert longest / 2 < max(pauses) <= longest
    assert min(pauses[-5:]) > longest / 2


async def test_a_server_with_a_refused_token_logs_in_once_for_each_claim(
    files: RelayFiles, tokens: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that dials by itself logs in several times in such a pause.
    monkeypatch.setattr(listener, "_LASTING_BACKOFF", Backoff(first=0.3, longest=0.3))
    async with relay_with(files, tokens, policy) as relay, server_of(files) as server:
        await server.listen(f"{relay.url}/edge-7{files.options()}")
        claims: list[object] = []
        logins: list[object] = []
        in_words, said = listener.trouble_of, relay.front.said

        def noted(failure: Any, place: Any) -> ClaimTrouble:
            claims.append(failure)
            return in_words(failure, place)

        def logged_in(opening: Any) -> None:
            logins.append(opening)
            said(opening)

        monkeypatch.setattr(listener, "trouble_of", noted)
        tokens.write_text('[[token]]\ntoken = "token-of-other"\nname = "other"\n')
        relay.reload()
        await eventually(lambda: "edge-7" not in relay.front.claims.by_name)
        monkeypatch.setattr(relay.front, "said", logged_in)
        claims.clear()
        await eventually(lambda: len(claims) >= 4)
        # One more may be under way.
        assert len(logins) <= len(claims) + 1
