"""Settings of `fastrpc run` and the order of their sources."""

from pathlib import Path

import pytest

from fastrpc.cli.settings import known_keys, read_settings
from fastrpc.config import ServerConfig, Timeouts
from fastrpc.errors import ConfigError
from fastrpc.limits import Addresses, ConnectionRate


def write(folder: Path, text: str) -> Path:
    file = folder / "fastrpc.toml"
    file.write_text(text)
    return file


def test_defaults_come_from_the_configuration() -> None:
    settings, warnings = read_settings({}, {}, None)
    assert settings.app is None
    assert settings.addresses == ("tcp://127.0.0.1:8972",)
    assert (settings.workers, settings.log_level, settings.config) == (1, "info", ServerConfig())
    assert warnings == []


def test_argument_wins_over_environment_over_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'workers = 2\naddress = "tcp://h:1"\napp = "file:app"\n[timeouts]\ndrain = 2\n')
    environment = {"FASTRPC_WORKERS": "3", "FASTRPC_ADDRESS": "tcp://h:3"}
    settings, _ = read_settings({"workers": 4, "address": None}, environment, file)
    assert settings.workers == 4
    assert settings.addresses == ("tcp://h:3",)
    assert settings.app == "file:app"
    assert settings.config.timeouts == Timeouts(drain=2)


def test_environment_can_name_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "workers = 2")
    settings, _ = read_settings({}, {"FASTRPC_CONFIG": str(file)}, None)
    assert settings.workers == 2


def test_number_of_processes_of_the_platform_is_the_weaker_variable() -> None:
    assert read_settings({}, {"WEB_CONCURRENCY": "3"}, None)[0].workers == 3
    assert read_settings({}, {"WEB_CONCURRENCY": "3", "FASTRPC_WORKERS": "2"}, None)[0].workers == 2
    assert read_settings({}, {"WEB_CONCURRENCY": "all", "FASTRPC_WORKERS": "2"}, None)[0].workers == 2
    assert (
        read_settings({}, {"WEB_CONCURRENCY": ""}, None)[0].workers == read_settings({}, {}, None)[0].workers
    )


def test_every_field_of_the_configuration_has_a_variable() -> None:
    names = {"FASTRPC_" + key.replace(".", "_").upper() for key in known_keys()}
    assert {"FASTRPC_LIMITS_MESSAGE_BYTES", "FASTRPC_REFLECTION", "FASTRPC_TLS_CERT_FILE"} <= names
    assert len(names) == len(known_keys())


def test_variables_are_read_as_the_type_of_their_key() -> None:
    environment = {
        "FASTRPC_REFLECTION": "true",
        "FASTRPC_TIMEOUTS_CALL": "none",
        "FASTRPC_TIMEOUTS_DRAIN": "0.5",
        "FASTRPC_LIMITS_DEPTH": "7",
        "FASTRPC_CODECS": "raw, json",
        "FASTRPC_ADDRESS": "tcp://h:1,unix:///s",
        "FASTRPC_TLS_CERT_FILE": "cert.pem",
    }
    settings, _ = read_settings({}, environment, None)
    config = settings.config
    assert config.reflection is True
    assert (config.timeouts.call, config.timeouts.drain) == (None, 0.5)
    assert config.limits.depth == 7
    assert config.codecs == ("raw", "json")
    assert settings.addresses == ("tcp://h:1", "unix:///s")
    assert config.tls is not None
    assert config.tls.cert_file == "cert.pem"


def test_registries_are_a_list_or_separated_by_blanks(tmp_path: Path) -> None:
    both = ("consul://h:1?tag=a,b", "etcd://h:2,h:3")
    file = write(tmp_path, 'registry = ["consul://h:1?tag=a,b", "etcd://h:2,h:3"]')
    assert read_settings({}, {}, file)[0].registry == both
    assert read_settings({}, {"FASTRPC_REGISTRY": " ".join(both)}, None)[0].registry == both
    assert read_settings({"registry": list(both)}, {"FASTRPC_REGISTRY": "none"}, file)[0].registry == both
    assert read_settings({}, {"FASTRPC_REGISTRY": "none"}, file)[0].registry == ()
    assert read_settings({}, {}, write(tmp_path, 'registry = "etcd://h:2,h:3"'))[0].registry == both[1:]


def test_file_can_say_that_there_is_no_limit(tmp_path: Path) -> None:
    file = write(tmp_path, '[timeouts]\ncall = "none"')
    assert read_settings({}, {}, file)[0].config.timeouts.call is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("wrkers = 2", "wrkers is not a setting", "did you mean 'workers'?"),
        ("[timeouts]\ndrian = 2", "[timeouts] drian is not a setting", "did you mean 'drain'?"),
        ("[timeout]\ndrain = 2", "timeout is not a setting", "did you mean [timeouts]?"),
        (
            "[keepalive]\nqqq = 2",
            "qqq is not a setting",
            "there are interval, timeout, minimum_interval, max_age",
        ),
        (
            "colour = 1",
            "colour is not a setting",
            "a key is an option of `fastrpc run --help`, or a field: help(fastrpc.ServerConfig)",
        ),
        ('workers = "2"', "fastrpc.toml: workers is '2', it must be a whole number", None),
        ("codecs = 5", "fastrpc.toml: codecs is 5, it must be a list of texts", None),
        ("reflection = 5", 'fastrpc.toml: reflection is 5, it must be true, false or "none"', None),
        ("[limits]\ndepth = 0", "fastrpc.toml: [limits] depth is 0, it must be", None),
        ('protocols = ["soap"]', "fastrpc.toml: protocols is ('soap',), it must be", None),
        ("[http.limits]\nheaders = 0", "fastrpc.toml: [http.limits] headers is 0, it must be", None),
        (
            "[memory]\nsend_hard = 100_000",
            "fastrpc.toml: [memory] send_hard: Memory.send_soft is 4194304",
            None,
        ),
        ('[tls]\nkey_file = "k"', "fastrpc.toml: [tls] key_file is 'k', but cert_file is None", None),
        ("timeouts = 3", "timeouts is not a setting", None),
        ("workers =", "is not TOML", "each line is: key = value; texts need quotes"),
    ],
)
def test_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({}, {}, write(tmp_path, text))
    assert message in caught.value.message
    if hint is not None:
        assert caught.value.hint == hint


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file") as caught:
        read_settings({}, {}, tmp_path / "none.toml")
    assert caught.value.hint == "check the path after --config"
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file") as caught:
        read_settings({}, {"FASTRPC_CONFIG": str(tmp_path / "none.toml")}, None)
    assert caught.value.hint == "check the path in FASTRPC_CONFIG"


def test_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="^FASTRPC_WORKERS is 'many', it must be a whole number$"):
        read_settings({}, {"FASTRPC_WORKERS": "many"}, None)
    with pytest.raises(ConfigError, match="^FASTRPC_TIMEOUTS_DRAIN is -1.0, it must be a number from 0"):
        read_settings({}, {"FASTRPC_TIMEOUTS_DRAIN": "-1"}, None)


def test_a_value_of_the_command_line_hides_the_place_of_the_one_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[limits]\ndepth = 7")
    with pytest.raises(ConfigError, match=r"^Limits\.depth is 0"):
        read_settings({"limits.depth": 0}, {}, file)


def test_later_error_about_a_field_is_one_about_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, 'admin_address = "tls://h:1"\ncodecs = ["json"]\n[http]\njson = true\n')
    places = read_settings({}, {"FASTRPC_CODECS": "xml"}, file)[0].places
    for text, named in (
        ("ServerConfig.admin_address is 1", f"{file}: admin_address is 1"),
        ("ServerConfig.codecs: no codec", "FASTRPC_CODECS: no codec"),
        ("ServerConfig.http is set", f"{file}: [http] json is set"),
    ):
        error = places.named(ConfigError(text, hint="do it"))
        assert error is not None
        assert (error.message, error.hint) == (named, "do it")
    for text in ("ServerConfig.tls is None", "admin_address", "it is ServerConfig.codecs", ""):
        assert places.named(ConfigError(text)) is None


@pytest.mark.parametrize(
    ("name", "choices"),
    [("log_level", "debug, info, warning, error or critical"), ("log_format", "text or json")],
)
def test_a_wrong_choice_lists_all_of_them(tmp_path: Path, name: str, choices: str) -> None:
    for environment, file in (
        ({f"FASTRPC_{name.upper()}": "loud"}, None),
        ({}, write(tmp_path, f'{name} = "loud"')),
    ):
        with pytest.raises(ConfigError, match=rf"(?i){name} is 'loud', it must be {choices}$"):
            read_settings({}, environment, file)
    with pytest.raises(ConfigError, match=r"log_level is 3"):
        read_settings({}, {}, write(tmp_path, "log_level = 3"))


def test_a_choice_may_be_written_in_capitals(tmp_path: Path) -> None:
    settings, _ = read_settings({}, {"FASTRPC_LOG_LEVEL": "WARNING"}, write(tmp_path, 'log_format = "JSON"'))
    assert (settings.log_level, settings.log_format) == ("warning", "json")


def test_variable_that_is_nearly_a_setting_is_warned_about() -> None:
    _, warnings = read_settings({}, {"FASTRPC_WORKER": "2", "FASTRPC_BUILD": "debug", "PATH": "/"}, None)
    assert warnings == ["FASTRPC_WORKER is not a setting; did you mean FASTRPC_WORKERS?"]


def test_applications_are_mounted_by_a_table_or_by_pairs_in_a_variable(tmp_path: Path) -> None:
    file = write(tmp_path, '[http.mounts]\n"/" = "shop:app"\n"/old" = "old:make.app"\n')
    expected = {"/": "shop:app", "/old": "old:make.app"}
    assert dict(read_settings({}, {}, file)[0].config.http.mounts) == expected
    environment = {"FASTRPC_HTTP_MOUNTS": "/=shop:app, /old=old:make.app"}
    assert dict(read_settings({}, environment, None)[0].config.http.mounts) == expected


def test_mounts_of_another_form_are_named_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"FASTRPC_HTTP_MOUNTS is 'shop:app', it must be a table"):
        read_settings({}, {"FASTRPC_HTTP_MOUNTS": "shop:app"}, None)
    file = write(tmp_path, '[http.mounts]\n"shop" = "shop:app"\n')
    with pytest.raises(ConfigError, match="it must be a mapping from prefixes"):
        read_settings({}, {}, file)


def test_limits_of_connections_are_sections(tmp_path: Path) -> None:
    text = '[addresses]\ndeny = ["10.0.0.0/8"]\n\n[connection_rate]\nrate = 20\nburst = 5'
    settings, _ = read_settings({}, {}, write(tmp_path, text))
    assert settings.limits == (Addresses(deny=["10.0.0.0/8"]), ConnectionRate(20, burst=5))
    environment = {"FASTRPC_ADDRESSES_ALLOW": "10.0.0.0/8, ::1/128", "FASTRPC_CONNECTION_RATE_RATE": "0.5"}
    settings, _ = read_settings({}, environment, None)
    assert settings.limits == (Addresses(allow=["10.0.0.0/8", "::1/128"]), ConnectionRate(0.5))
    assert read_settings({}, {}, None)[0].limits == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[addresses]\ndeny = ["proxy"]', r"fastrpc.toml: \[addresses\] deny is \('proxy',\)|\['proxy'\]"),
        (
            "[addresses]\nallow = []",
            r"fastrpc.toml: \[addresses\] allow: Addresses has neither allow nor deny",
        ),
        ("[connection_rate]\nburst = 5", r"\[connection_rate\] burst: ConnectionRate.rate is None"),
        (
            "[connection_rate]\nrate = -1",
            r"fastrpc.toml: \[connection_rate\] rate is -1.0, it must be a number",
        ),
        ('[connection_rate]\nrate = 1\nper = "peer"', r"\[connection_rate\] per is 'peer', it must be"),
        ("[connection_rates]\nrate = 1", r"\[?connection_rates\]? is not a setting"),
    ],
)
def test_wrong_limits_of_connections_name_their_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings({}, {}, write(tmp_path, text))
