"""Listed tokens: accepted ones, valid content of a file, and secrecy."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from fastrpc.auth import Identity, StaticTokens
from fastrpc.auth.verdict import Refusal, Verdict
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.peers.peer import Peer

ADA = Identity("ada", roles={"admin"})
SECRET = "planted-5ecret"


def peer(token: str | None, scheme: str = "bearer") -> Peer:
    return Peer(Address.parse("tcp://127.0.0.1:4000"), scheme, token)


def test_a_listed_token_gives_its_identity() -> None:
    assert StaticTokens({SECRET: ADA}).verify(peer(SECRET)) == Verdict(ADA)


async def test_calling_it_gives_the_identity_alone() -> None:
    tokens = StaticTokens({SECRET: ADA})
    assert await tokens(peer(SECRET)) is ADA
    assert await tokens(peer("other")) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        SECRET[:-1],
        SECRET + "x",
        SECRET.upper(),
        f" {SECRET}",
        f"{SECRET}\n",
        f"{SECRET}\0",
        "\ud800",
        None,
    ],
)
def test_any_other_token_is_refused(token: str | None) -> None:
    assert isinstance(StaticTokens({SECRET: ADA}).verify(peer(token)), Refusal)


def test_a_token_of_another_scheme_is_refused() -> None:
    tokens = StaticTokens({SECRET: ADA})
    assert not tokens.handles(peer(SECRET, "basic"))
    assert isinstance(tokens.verify(peer(SECRET, "basic")), Refusal)


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ä", "x" * 8_001])
def test_a_token_that_cannot_be_sent_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StaticTokens({token: ADA})
    assert not token or token not in str(caught.value)


def test_tokens_need_identities() -> None:
    with pytest.raises(TypeError, match="must be an Identity") as caught:
        StaticTokens({SECRET: "ada"})  # type: ignore[dict-item]
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="no token"):
        StaticTokens({})


def test_neither_repr_nor_state_has_the_token() -> None:
    tokens = StaticTokens({SECRET: ADA})
    assert SECRET not in repr(tokens)
    assert SECRET not in repr(vars(tokens))


class TestFiles:
    def test_a_file_has_tokens_or_their_digests(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens.toml"
        digest = hashlib.sha256(b"second").hexdigest()
        path.write_text(
            f'[[token]]\ntoken = "{SECRET}"\nname = "ada"\nroles = ["admin"]\n'
            f'[[token]]\nsha256 = "{digest.upper()}"\nname = "bob"\nclaims = {{ tenant = "acme" }}\n'
        )
        tokens = StaticTokens.from_file(path)
        assert tokens.verify(peer(SECRET)) == Verdict(ADA)
        assert tokens.verify(peer("second")) == Verdict(Identity("bob", claims={"tenant": "acme"}))
        assert tokens.names == {"ada", "bob"}
        assert isinstance(tokens.verify(peer(digest)), Refusal)

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "not toml",
            'token = "x"',
            "[[token]]",
            '[[token]]\ntoken = "planted-5ecret"',
            '[[token]]\nname = "ada"',
            '[[token]]\ntoken = "planted-5ecret"\nsha256 = "00"\nname = "ada"',
            '[[token]]\nsha256 = "00"\nname = "ada"',
            '[[token]]\ntoken = ""\nname = "ada"',
            '[[token]]\ntoken = 7\nname = "ada"',
            '[[token]]\ntoken = "planted-5ecret"\nname = "role:admin"',
            '[[token]]\ntoken = "planted-5ecret"\nname = "ada"\nrole = "admin"',
            '[[token]]\ntoken = "planted-5ecret"\nname = "ada"\nroles = "admin"',
            '[[token]]\ntoken = "planted-5ecret"\nname = "a"\n[[token]]\ntoken = "planted-5ecret"\nname = "b"',
            '[[token]]\ntoken = "planted-5ecret"\nname = "ada"\n[other]',
        ],
    )
    def test_a_broken_file_is_refused_without_its_tokens(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "tokens.toml"
        path.write_text(content)
        with pytest.raises(ConfigError, match="tokens.toml") as caught:
            StaticTokens.from_file(path)
        assert SECRET not in f"{caught.value} {caught.value.hint}"

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            StaticTokens.from_file(tmp_path / "none.toml")

    def test_a_changed_file_is_read_again(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "tokens.toml"
        path.write_text(f'[[token]]\ntoken = "{SECRET}"\nname = "ada"\n')
        tokens = StaticTokens.from_file(path)
        replacement = tmp_path / "new"
        replacement.write_text('[[token]]\ntoken = "second"\nname = "ada"\n')
        os.replace(replacement, path)
        with caplog.at_level(logging.INFO, "fastrpc.audit"):
            tokens.reload()
        assert isinstance(tokens.verify(peer(SECRET)), Refusal)
        assert isinstance(tokens.verify(peer("second")), Verdict)
        assert tokens.version == 1
        assert "the file of tokens was read again" in caplog.text
        assert "second" not in caplog.text
