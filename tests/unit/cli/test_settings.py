"""Settings of `fastrpc run` and the order of their sources."""

from pathlib import Path

import pytest

from fastrpc.cli.settings import known_keys, read_settings
from fastrpc.config import ServerConfig, Timeouts
from fastrpc.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "fastrpc.toml"
    file.write_text(text)
    return file


def test_defaults_are_those_of_the_configuration() -> None:
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


def test_file_can_say_that_there_is_no_limit(tmp_path: Path) -> None:
    file = write(tmp_path, '[timeouts]\ncall = "none"')
    assert read_settings({}, {}, file)[0].config.timeouts.call is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("wrkers = 2", "wrkers is not a setting", "did you mean 'workers'?"),
        ("[timeouts]\ndrian = 2", "[timeouts] drian is not a setting", "did you mean 'drain'?"),
        ("[timeout]\ndrain = 2", "timeout is not a setting", "did you mean [timeouts]?"),
        ("[timeouts]\nqqq = 2", "[timeouts] qqq is not a setting", None),
        ('workers = "2"', "workers is '2': expected `int`, got `str`", None),
        ("[limits]\ndepth = 0", "Limits.depth is 0", None),
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
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        read_settings({}, {}, tmp_path / "none.toml")


def test_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="FASTRPC_WORKERS is 'many': expected `int`"):
        read_settings({}, {"FASTRPC_WORKERS": "many"}, None)


@pytest.mark.parametrize(
    ("name", "choices"),
    [("log_level", "debug, info, warning, error, critical"), ("log_format", "text, json")],
)
def test_a_wrong_choice_lists_all_of_them(tmp_path: Path, name: str, choices: str) -> None:
    for environment, file in (
        ({f"FASTRPC_{name.upper()}": "loud"}, None),
        ({}, write(tmp_path, f'{name} = "loud"')),
    ):
        with pytest.raises(ConfigError, match=rf"(?i){name} is 'loud'") as caught:
            read_settings({}, environment, file)
        assert caught.value.hint == f"there are {choices}"
    with pytest.raises(ConfigError, match=r"log_level is 3"):
        read_settings({}, {}, write(tmp_path, "log_level = 3"))


def test_a_choice_may_be_written_in_capitals(tmp_path: Path) -> None:
    settings, _ = read_settings({}, {"FASTRPC_LOG_LEVEL": "WARNING"}, write(tmp_path, 'log_format = "JSON"'))
    assert (settings.log_level, settings.log_format) == ("warning", "json")


def test_variable_that_is_nearly_a_setting_is_warned_about() -> None:
    _, warnings = read_settings({}, {"FASTRPC_WORKER": "2", "FASTRPC_BUILD": "debug", "PATH": "/"}, None)
    assert warnings == ["FASTRPC_WORKER is not a setting; did you mean FASTRPC_WORKERS?"]
