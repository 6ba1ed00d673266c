"""Authorities and certificates, made once: each takes the `openssl` program some milliseconds."""

import pytest

from tests.support.certificates import Authority, Certificate


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("tls"), "stranger")


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Certificate:
    return authority.certificate()


@pytest.fixture(scope="session")
def client_certificate(authority: Authority) -> Certificate:
    return authority.certificate("URI:spiffe://corp/ada,DNS:ada.corp", purpose="clientAuth")
