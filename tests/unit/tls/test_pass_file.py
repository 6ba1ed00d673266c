"""Files of LAN passes: damaged or outdated files, and files open to other users, are refused with a remedy."""

import base64
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc.config import TLS
from fastrpc.discovery import pass_making
from fastrpc.discovery.lan_pass import load_lan_pass
from fastrpc.discovery.pass_making import add_pass, present_last
from fastrpc.errors import ConfigError
from fastrpc.tls.contexts import ContextSource, client_context, server_context
from fastrpc.tls.pass_file import MOST_BYTES, passes_in
from tests.support.lan_passes import made_pass, put_passes

DAY = 86_400
BLOCK = re.compile(r"-----BEGIN .+?-----END [A-Z ]+-----\n", re.DOTALL)

ONE = 1
OTHER = 2


def blocks(number: int) -> list[str]:
    return BLOCK.findall(made_pass(number).text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return put_passes(tmp_path / "lan.pass", made_pass(ONE))


def refused(path: Path) -> ConfigError:
    """Return the error by which a pass is refused, which is the same for its keys and for both sides of TLS."""
    with pytest.raises(ConfigError) as found:
        load_lan_pass(path)
    assert found.value.hint
    for block in blocks(ONE)[:2]:
        assert block.splitlines()[1] not in str(found.value)
    return found.value


def test_a_pass_has_its_keys_and_the_settings_of_both_sides(path: Path, tmp_path: Path) -> None:
    put_passes(path, made_pass(ONE), made_pass(OTHER))
    loaded = load_lan_pass(path)
    assert [*loaded.lan_keys.value] == [made_pass(ONE).id.encode(), made_pass(OTHER).id.encode()]
    assert loaded.lan_keys.value[made_pass(ONE).id.encode()] == made_pass(ONE).lan_key
    assert loaded.server_tls() == TLS(cert_file=str(path), ca_file=str(path), require_client_cert=True)
    assert loaded.client_tls() == TLS(cert_file=str(path), ca_file=str(path), server_name="lan")
    assert made_pass(ONE).lan_key.hex() not in repr(loaded)


def test_no_file_is_written_that_would_be_too_long_to_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The passes of a full file take seconds to make.
    monkeypatch.setattr(pass_making, "MOST_BYTES", path.stat().st_size + 1_000, raising=False)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="would have") as found:
        add_pass(path)
    assert f"fastrpc lan pass {path} --only" in (found.value.hint or "")
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert present_last(path) == made_pass(ONE)


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        add_pass(tmp_path / "nowhere" / "lan.pass")


def test_a_relative_path_stays_the_same_file_after_a_change_of_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    loaded = load_lan_pass(path.name)
    monkeypatch.chdir("/")
    assert loaded.client_tls().cert_file == str(path)


def test_comments_and_other_line_ends_are_no_damage(path: Path) -> None:
    path.write_text("# of the shop\n\n" + made_pass(ONE).text.replace("\n", "\r\n") + "\n# the end\n")
    assert [*load_lan_pass(path).lan_keys.value] == [made_pass(ONE).id.encode()]


def mixed(*numbers: int) -> str:
    """Return four blocks, each of the pass with this number."""
    return "".join(blocks(number)[place] for place, number in enumerate(numbers))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(lambda: "", "it is empty", id="empty"),
        pytest.param(lambda: "# nothing else\n", "it is empty", id="comment"),
        pytest.param(lambda: "garbage\n", "text that belongs to no block", id="garbage"),
        pytest.param(lambda: made_pass(ONE).text + "more\n", "text that belongs to no block", id="more"),
        pytest.param(lambda: made_pass(ONE).text[:700], "cut off within a block", id="cut in a block"),
        pytest.param(lambda: "".join(blocks(ONE)[:3]), "ends after block 3", id="cut behind a block"),
        pytest.param(
            lambda: "".join(blocks(ONE)[1:]),
            "block 1 is a FASTRPC LAN KEY in place of a PRIVATE KEY",
            id="without its private key",
        ),
        pytest.param(
            lambda: "".join(reversed(blocks(ONE))),
            "block 1 is a CERTIFICATE in place of a PRIVATE KEY",
            id="reversed",
        ),
        pytest.param(
            lambda: made_pass(ONE).text + "".join(blocks(OTHER)[:2]),
            "ends after block 6",
            id="half a second",
        ),
        pytest.param(lambda: made_pass(ONE).text * 2, "occurs twice", id="twice"),
        pytest.param(
            lambda: mixed(ONE, ONE, OTHER, OTHER),
            "the certificate in it is damaged, or is not part of this pass",
            id="swapped halves",
        ),
        pytest.param(
            lambda: mixed(OTHER, ONE, ONE, ONE),
            "the private key in it is damaged",
            id="another's private key",
        ),
        pytest.param(
            lambda: mixed(ONE, ONE, OTHER, ONE),
            "the certificate in it is damaged",
            id="another's certificate",
        ),
        pytest.param(
            lambda: mixed(ONE, ONE, ONE, OTHER),
            "the certificate of the authority in it is damaged",
            id="another's authority",
        ),
        pytest.param(
            lambda: mixed(ONE, OTHER, ONE, ONE),
            "the private key in it is damaged",
            id="another's key of announcements",
        ),
        pytest.param(
            lambda: "".join([blocks(ONE)[0], block_of(b"ABC"), *blocks(ONE)[2:]]),
            "has 3 bytes, and it has to have 100",
            id="short seal",
        ),
        pytest.param(
            lambda: made_pass(ONE).text.replace("\nMI", "\n=I", 1),
            "PRIVATE KEY is not base64",
            id="no base64",
        ),
    ],
)
def test_a_damaged_file_is_refused(path: Path, content: Callable[[], str], told: str) -> None:
    path.write_text(content())
    error = refused(path)
    assert told in error.message
    assert str(path) in error.message


def block_of(content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    return f"-----BEGIN FASTRPC LAN KEY-----\n{encoded}\n-----END FASTRPC LAN KEY-----\n"


def test_a_character_that_changed_is_noticed_wherever_it_is(path: Path) -> None:
    text = made_pass(ONE).text
    for place in range(0, len(text), 7):
        # The last letter of a block may have bits that stand for nothing.
        if text[place] != "\n" and text[place + 1 : place + 2] != "=":
            path.write_text(text[:place] + ("B" if text[place] != "B" else "C") + text[place + 1 :])
            refused(path)


def test_a_file_that_is_cut_off_anywhere_is_refused_by_tls_as_well(path: Path) -> None:
    whole = made_pass(ONE).text + made_pass(OTHER).text
    settings = load_lan_pass(path)
    ends = {match.end() for match in BLOCK.finditer(whole)} | set(range(0, len(whole) - 1, 100))
    for end in sorted(ends - {len(made_pass(ONE).text), len(whole)}):
        path.write_text(whole[:end])
        for make, tls in ((server_context, settings.server_tls()), (client_context, settings.client_tls())):
            with pytest.raises(ConfigError):
                make(tls)


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" * 100)
    assert "not UTF-8" in refused(path).message


def test_a_file_of_ten_mebibytes_is_refused_unread(path: Path) -> None:
    os.truncate(path, 10 * 1024 * 1024)
    assert f"10,485,760 bytes, a LAN pass has at most {MOST_BYTES:,}" in refused(path).message


def test_only_a_regular_file_of_its_user_is_taken(path: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe, 0o600)
    assert "cannot be read: No such file" in refused(tmp_path / "missing").message
    assert "it is a directory" in refused(tmp_path).message
    assert "it is a symbolic link" in refused(link).message
    assert "no regular file" in refused(pipe).message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_rights_of_other_users_are_refused_for_keys_and_for_both_sides_of_tls(path: Path, mode: int) -> None:
    settings = load_lan_pass(path)
    path.chmod(mode)
    error = refused(path)
    assert f"other users may use it: its rights are {mode:04o}" in error.message
    assert "0600" in str(error.hint)
    with pytest.raises(ConfigError, match="other users may use it"):
        server_context(settings.server_tls())
    with pytest.raises(ConfigError, match="other users may use it"):
        client_context(settings.client_tls())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    os.chown(path, 4711, -1)
    error = refused(path)
    assert "it belongs to the user 4711, and this program runs as 0" in error.message


def test_a_pass_that_has_expired_or_begins_later_is_refused_by_its_dates(path: Path) -> None:
    old, later = made_pass(3, time.time() - 4_000 * DAY), made_pass(4, time.time() + 3 * DAY)
    put_passes(path, old, made_pass(ONE))
    error = refused(path)
    assert f"its pass {old.id} has expired on " in error.message
    assert "make a new one" in str(error.hint)
    with pytest.raises(ConfigError, match="has expired"):
        server_context(TLS(cert_file=path, ca_file=path))
    put_passes(path, later)
    error = refused(path)
    assert f"its pass {later.id} holds from " in error.message
    assert error.hint == "set the clock of this machine"
    # Another one may be outdated: only the first is presented.
    put_passes(path, made_pass(ONE), old)
    assert len(load_lan_pass(path).lan_keys.value) == 2


def test_a_pass_holds_for_clocks_that_are_a_day_late_and_for_ten_years() -> None:
    now = time.time()
    [made] = passes_in(made_pass(ONE).text)
    assert made.period.holds(now - DAY + 3_600)
    assert not made.period.holds(now - 2 * DAY)
    assert made.period.holds(now + 3_649 * DAY)


def test_a_change_is_taken_and_damage_keeps_the_keys_before_it(path: Path) -> None:
    keys = load_lan_pass(path).lan_keys
    put_passes(path, made_pass(OTHER), made_pass(ONE))
    assert keys.reload()
    assert [*keys.value] == [made_pass(OTHER).id.encode(), made_pass(ONE).id.encode()]
    path.write_text(made_pass(ONE).text[:900])
    assert not keys.reload()
    assert len(keys.value) == 2


def test_a_clock_that_jumps_keeps_no_change_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_lan_pass(path)
    clock, now = Clock(), time.time()
    source = ContextSource(loaded.server_tls(), server_context, wall_clock=time.time)
    first = source.current()
    monkeypatch.setattr(time, "time", clock)
    clock.now = now - 3_000 * DAY
    put_passes(path, made_pass(OTHER), made_pass(ONE))
    assert loaded.lan_keys.reload()
    assert len(loaded.lan_keys.value) == 2
    source.reload()
    assert source.current() is first
    clock.now = now
    source.reload()
    assert source.current() is not first


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
