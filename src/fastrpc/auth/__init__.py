"""Authentication and authorisation: values for `Server(authenticate=…, authorize=…)`.

This package knows neither servers nor connections: an authenticator judges a peer, a policy judges an identity and a
route.

To add a scheme in addition to `bearer`, change `handlers/auth/verdicts.py`, `schemes` in `server/access.py`,
`client/credentials.py`, the connections in `_core/client` that send credentials, `_core/rpcx/native_forms.pyx`, the
challenge in `_core/http/responses.pyx`, and PROTOCOL.md 12.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use
from fastrpc.rpc.identity import Identity

__all__ = ["JWT", "AnyOf", "ClientCertificates", "Identity", "Policy", "Route", "StaticTokens", "TokenFile"]

if TYPE_CHECKING:
    from fastrpc.auth.any_of import AnyOf
    from fastrpc.auth.client_certificates import ClientCertificates
    from fastrpc.auth.json_web_tokens import JWT
    from fastrpc.auth.policy import Policy, Route
    from fastrpc.auth.static_tokens import StaticTokens
    from fastrpc.auth.token_file import TokenFile
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "any_of": "AnyOf",
            "client_certificates": "ClientCertificates",
            "json_web_tokens": "JWT",
            "policy": "Policy Route",
            "static_tokens": "StaticTokens",
            "token_file": "TokenFile",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
