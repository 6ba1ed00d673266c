"""A real apiserver of Kubernetes over a real etcd, and the records that a cluster's controllers and owners write."""

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.support.apiserver import NAMESPACE
from tests.support.certificates import Authority
from tests.support.kept_process import KeptProcess
from tests.support.ports import free_ports
from tests.support.program import WAIT_SECONDS
from tests.support.registry_servers import EtcdServer

__all__ = ["OWNER", "KubeApiserver"]

SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
RIGHTS = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"

#: The token of its owner.
OWNER = "owner"


class KubeApiserver(KeptProcess):
    """An apiserver on loopback, with TLS, roles and service accounts; etcd keeps its objects across restarts."""

    def __init__(self, program: str, folder: Path, etcd: EtcdServer) -> None:
        super().__init__(folder / "apiserver.log")
        self._program = program
        self._folder = folder
        self.etcd = etcd
        (self.port,) = free_ports(1)
        authority = Authority(folder)
        self._certificate = authority.certificate()
        self.ca_file = authority.cert_file
        (folder / "tokens.csv").write_text(f"{OWNER},owner,1,system:masters\n")
        self._key = folder / "accounts.key"
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-out", str(self._key)]
        subprocess.run(command, check=True, capture_output=True)
        self.context = ssl.create_default_context(cafile=self.ca_file)

    def command(self) -> list[str]:
        options = {
            "authorization-mode": "RBAC",
            "bind-address": "127.0.0.1",
            "cert-dir": self._folder,
            # Otherwise pages of a list outlast the compaction of etcd, and none of them expires.
            "feature-gates": "ListFromCacheSnapshot=false",
            "etcd-servers": f"http://127.0.0.1:{self.etcd.port}",
            "secure-port": self.port,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._key,
            "service-account-signing-key-file": self._key,
            "service-cluster-ip-range": "10.96.0.0/16",
            "tls-cert-file": self._certificate.cert_file,
            "tls-private-key-file": self._certificate.key_file,
            "token-auth-file": self._folder / "tokens.csv",
        }
        return [self._program, *(f"--{name}={value}" for name, value in options.items())]

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz") == "ok"
        except OSError:
            return False

    def restart(self) -> None:
        self.kill()
        self.start()

    def ask(self, method: str, path: str, content: Any = None, *, token: str = OWNER) -> Any:
        """Ask as its owner, unless another token is given; return the object of the answer, or its text."""
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", body, method=method)
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20, context=self.context) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def prepare(self) -> None:
        """Make the namespace, and three service accounts: one may list and watch, one may list, one may neither."""
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for name in ("follower", "lister", "stranger"):
            self.ask("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": name}})
        for name, verbs in (("follower", ["list", "watch"]), ("lister", ["list"])):
            rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs}
            self.ask("POST", f"{RIGHTS}/roles", {"metadata": {"name": name}, "rules": [rule]})
            bound = {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
            }
            self.ask("POST", f"{RIGHTS}/rolebindings", bound)

    def apply(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Make the objects of manifests in the namespace."""
        places = {"ServiceAccount": CORE, "Role": RIGHTS, "RoleBinding": RIGHTS}
        for one in manifests:
            self.ask("POST", f"{places[one['kind']]}/{one['kind'].lower()}s", one)

    def token(self, account: str, name: str) -> str:
        """Return a new token of a service account, which `revoke` ends by its name."""
        secret = self.ask("POST", f"{CORE}/secrets", {"metadata": {"name": name}})
        bound = {"kind": "Secret", "apiVersion": "v1", "name": name, "uid": secret["metadata"]["uid"]}
        asked = {"spec": {"boundObjectRef": bound, "expirationSeconds": 3600}}
        found = self.ask("POST", f"{CORE}/serviceaccounts/{account}/token", asked)
        return str(found["status"]["token"])

    def revoke(self, name: str, token: str) -> None:
        """End a token, and return once it is refused: the apiserver accepts a known token for ten more seconds."""
        self.ask("DELETE", f"{CORE}/secrets/{name}")
        until = time.monotonic() + WAIT_SECONDS
        while self._takes(token):
            assert time.monotonic() < until, f"the token {name} is still taken"
            time.sleep(0.2)

    def _takes(self, token: str) -> bool:
        try:
            self.ask("GET", SLICES, token=token)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.UNAUTHORIZED:
                raise
            return False
        return True

    def put(self, *slices: dict[str, Any]) -> None:
        """Create or update slices."""
        for one in slices:
            try:
                self.ask("PUT", f"{SLICES}/{one['metadata']['name']}", one)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.NOT_FOUND:
                    raise AssertionError(error.read().decode()) from error
                self.ask("POST", SLICES, one)

    def delete(self, name: str) -> None:
        self.ask("DELETE", f"{SLICES}/{name}")

    def clear(self) -> None:
        """Delete all slices."""
        self.ask("DELETE", SLICES)

    def compact(self) -> None:
        """Make etcd forget all versions but the present one; the apiserver keeps its knowledge of them to its end."""
        revision = self.etcd.ask("kv/range", {"key": "/registry/"})["header"]["revision"]
        self.etcd.ask("kv/compaction", {"revision": revision, "physical": True})

    @contextlib.contextmanager
    def prepared(self) -> Iterator["KubeApiserver"]:
        with self.running():
            self.prepare()
            yield self
