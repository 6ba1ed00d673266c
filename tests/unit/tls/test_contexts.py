"""Contexts follow their files: the signs of a change, the time of its use, and unusable files, which change nothing."""

import logging
import os
import shutil
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fastrpc import TLS
from fastrpc.tls.certificate import period_of
from fastrpc.tls.contexts import ContextSource, server_context
from tests.support.certificates import Authority, Certificate


class Clock:
    """Both clocks of a source; the wall clock is at 0, far before the files' times, by default."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wall = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.wall


class Rotating:
    """Certificate files that a test replaces, and the source that follows them."""

    def __init__(self, folder: Path, first: Certificate) -> None:
        self.tls = TLS(cert_file=folder / "tls.crt", key_file=folder / "tls.key")
        self.folder = folder
        self.put(first)
        self.clock = Clock()
        self.source = ContextSource(
            self.tls, server_context, clock=self.clock.monotonic, wall_clock=self.clock.time
        )

    def put(self, certificate: Certificate, *, key: bool = True) -> None:
        for name, path in (("tls.crt", certificate.cert_file), ("tls.key", certificate.key_file)):
            if key or name == "tls.crt":
                shutil.copy(path, self.folder / "new")
                os.replace(self.folder / "new", self.folder / name)

    def after(self, seconds: float) -> ssl.SSLContext:
        self.clock.now += seconds
        return self.source.current()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    authority = Authority(tmp_path_factory.mktemp("contexts"))
    return authority.certificate(), authority.certificate()


@pytest.fixture
def rotating(tmp_path: Path, certificates: tuple[Certificate, Certificate]) -> Rotating:
    return Rotating(tmp_path, certificates[0])


def test_files_that_do_not_change_keep_their_context(rotating: Rotating) -> None:
    first = rotating.source.current()
    assert [rotating.after(1.1) for _ in range(5)] == [first] * 5


def test_a_change_is_taken_by_the_second_look_a_second_later(
    rotating: Rotating, certificates: tuple[Certificate, Certificate]
) -> None:
    first = rotating.source.current()
    rotating.put(certificates[1])
    assert rotating.after(0.5) is first
    assert rotating.after(0.6) is first
    assert rotating.after(0.5) is first
    assert rotating.after(0.6) is not first


def test_files_at_rest_are_taken_by_the_first_look(
    rotating: Rotating, certificates: tuple[Certificate, Certificate]
) -> None:
    first = rotating.source.current()
    rotating.put(certificates[1])
    rotating.clock.wall = os.stat(rotating.folder / "tls.key").st_ctime + 1.1
    assert rotating.after(1.1) is not first


def test_files_that_go_on_changing_are_not_taken(
    rotating: Rotating, certificates: tuple[Certificate, Certificate]
) -> None:
    first = rotating.source.current()
    for number in range(6):
        rotating.put(certificates[number % 2])
        assert rotating.after(1.1) is first


def test_a_certificate_without_its_key_keeps_the_old_pair_and_warns_once(
    rotating: Rotating, certificates: tuple[Certificate, Certificate], caplog: pytest.LogCaptureFixture
) -> None:
    first = rotating.source.current()
    rotating.put(certificates[1], key=False)
    assert [rotating.after(1.1) for _ in range(5)] == [first] * 5
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "the old ones stay" in record.getMessage()
    assert "it is not the key of" in record.getMessage()
    rotating.put(certificates[1])
    assert rotating.after(1.1) is first
    assert rotating.after(1.1) is not first


def test_a_removed_file_keeps_the_old_context(rotating: Rotating, caplog: pytest.LogCaptureFixture) -> None:
    first = rotating.source.current()
    (rotating.folder / "tls.key").unlink()
    assert [rotating.after(1.1) for _ in range(4)] == [first] * 4
    assert "No such file or directory" in caplog.text


def test_a_link_that_leads_elsewhere_counts_as_a_change(
    tmp_path: Path, certificates: tuple[Certificate, Certificate]
) -> None:
    for number, certificate in enumerate(certificates):
        (tmp_path / str(number)).mkdir()
        shutil.copy(certificate.cert_file, tmp_path / str(number) / "tls.crt")
        shutil.copy(certificate.key_file, tmp_path / str(number) / "tls.key")
    (tmp_path / "data").symlink_to("0")
    clock = Clock()
    tls = TLS(cert_file=tmp_path / "data" / "tls.crt", key_file=tmp_path / "data" / "tls.key")
    source = ContextSource(tls, server_context, clock=clock.monotonic, wall_clock=clock.time)
    first = source.current()
    # As Kubernetes does it.
    (tmp_path / "new").symlink_to("1")
    os.replace(tmp_path / "new", tmp_path / "data")
    clock.now += 1.1
    assert source.current() is first
    clock.now += 1.1
    assert source.current() is not first


def test_a_file_that_becomes_readable_is_taken(
    rotating: Rotating, certificates: tuple[Certificate, Certificate]
) -> None:
    first = rotating.source.current()
    rotating.put(certificates[1])
    key = rotating.folder / "tls.key"
    # A folder in its way, as root reads every file.
    key.rename(rotating.folder / "aside")
    key.mkdir()
    assert [rotating.after(1.1) for _ in range(3)] == [first] * 3
    key.rmdir()
    (rotating.folder / "aside").rename(key)
    assert [rotating.after(1.1) is first for _ in range(2)] == [True, False]


PERIODS = {
    "expired": ("20200101000000Z", "20210101000000Z"),
    "not valid yet": ("20600101000000Z", "20610101000000Z"),
}
#: An instant of 2026, 2060 and 2070.
NOW, LATER, AFTER = 1_790_000_000.0, 2_850_000_000.0, 3_160_000_000.0


@pytest.fixture(scope="session")
def outdated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """Certificates with no life now, and one that is valid."""
    authority = Authority(tmp_path_factory.mktemp("outdated"))
    found = {name: authority.certificate(period=period) for name, period in PERIODS.items()}
    return {**found, "valid": authority.certificate(period=("20200101000000Z", "20500101000000Z"))}


@pytest.mark.parametrize("name", PERIODS)
@pytest.mark.parametrize("is_told", [False, True])
def test_a_certificate_out_of_its_life_keeps_the_valid_one_and_warns_once(
    tmp_path: Path,
    outdated: dict[str, Certificate],
    name: str,
    is_told: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rotating = Rotating(tmp_path, outdated["valid"])
    rotating.clock.wall = NOW
    first = rotating.source.current()
    rotating.put(outdated[name])
    for _ in range(4):
        if is_told:
            rotating.source.reload()
        assert rotating.after(1.1) is first
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.levelname == "WARNING"
    told = "it has expired" if name == "expired" else "it is not valid yet"
    assert told in record.getMessage()
    assert "the old ones stay" in record.getMessage()
    rotating.put(outdated["valid"])
    rotating.source.reload()
    assert rotating.source.current() is not first


def test_a_certificate_is_taken_once_it_is_valid(tmp_path: Path, outdated: dict[str, Certificate]) -> None:
    rotating = Rotating(tmp_path, outdated["valid"])
    rotating.clock.wall = NOW
    first = rotating.source.current()
    rotating.put(outdated["not valid yet"])
    assert [rotating.after(1.1) for _ in range(3)] == [first] * 3
    rotating.clock.wall = LATER
    assert rotating.after(1.1) is not first


@pytest.mark.parametrize("name", PERIODS)
def test_one_that_is_not_valid_is_replaced_by_any(
    tmp_path: Path, outdated: dict[str, Certificate], name: str
) -> None:
    rotating = Rotating(tmp_path, outdated["valid"])
    rotating.clock.wall = AFTER
    first = rotating.source.current()
    rotating.put(outdated[name])
    rotating.source.reload()
    assert rotating.source.current() is not first


def test_the_life_of_a_certificate_is_that_which_a_peer_sees(
    tmp_path: Path, outdated: dict[str, Certificate]
) -> None:
    for name, (begin, end) in PERIODS.items():
        period = period_of(outdated[name].cert_file.read_bytes())
        assert period is not None
        for found, text in zip(period, (begin, end), strict=True):
            assert datetime.fromtimestamp(found, UTC).strftime("%Y%m%d%H%M%SZ") == text
    pem = outdated["valid"].cert_file.read_bytes()
    assert period_of(b"words in front\n" + pem + pem) == period_of(pem)
    for broken in (
        b"",
        pem[:60],
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        pem[:200] + pem[-40:],
    ):
        assert period_of(broken) is None
