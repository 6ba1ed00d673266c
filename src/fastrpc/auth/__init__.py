"""Authentication and authorisation: values for `Server(authenticate=…, authorize=…)`.

They know neither servers nor connections: an authenticator is asked about a peer, a policy about an identity and a
route.
"""

from fastrpc.auth.any_of import AnyOf
from fastrpc.auth.client_certificates import ClientCertificates
from fastrpc.auth.json_web_tokens import JWT
from fastrpc.auth.policy import Policy, Route
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.auth.token_file import TokenFile
from fastrpc.rpc.identity import Identity

__all__ = ["JWT", "AnyOf", "ClientCertificates", "Identity", "Policy", "Route", "StaticTokens", "TokenFile"]
