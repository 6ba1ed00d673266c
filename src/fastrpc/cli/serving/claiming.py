"""The token of a server behind a relay, from `fastrpc run --token-file`."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote

from fastrpc.errors import ConfigError

__all__ = ["with_claim_token"]


def with_claim_token(addresses: Sequence[str], token_file: Path | None) -> list[str]:
    """Return the addresses to listen at; addresses at a relay get the path of the token file.

    Raises:
        ConfigError: a file is given, and no address uses it.
    """
    if token_file is None:
        return list(addresses)
    given = [_with_token(address, token_file) for address in addresses]
    if given == list(addresses):
        raise ConfigError(
            "--token-file has no effect: no address is relay://, or all name a token",
            hint="listen at relay://host:port/NAME",
        )
    return given


def _with_token(address: str, token_file: Path) -> str:
    place, mark, options = address.partition("?")
    names = {name for name, _ in parse_qsl(options, keep_blank_values=True)}
    if not place.lower().startswith("relay://") or "token_file" in names:
        return address
    return f"{place}?{options}{'&' if mark and options else ''}token_file={quote(str(token_file), safe='/')}"
