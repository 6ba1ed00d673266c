"""Secrets that tests plant: they are searched for in all that a test prints and logs."""

from collections.abc import Sequence

__all__ = ["PLANTED", "told"]

#: Tokens and keys that tests show to servers and clients; nothing prints them but their tests.
PLANTED = ("token-of-ada", "token-of-bob", "planted-5ecret", "planted-2ecret-key-of-32-bytes-or-more")


def told(sections: Sequence[tuple[str, str]]) -> list[str]:
    """Return where a planted secret stands, of the titled texts that a test printed and logged."""
    return [f"{secret} in {title}" for title, text in sections for secret in PLANTED if secret in text]
