"""Each flag reaches its option; what is not there yet is refused by name, and its "off" value accepted."""

import dataclasses

import pytest

from shardbroker.cli.arguments import _OPTION_FLAGS, _REFUSED_FLAGS, parse_arguments
from shardbroker.cli.flags import boolean, duration, integer, size, sync_mode
from shardbroker.config.options import Options
from shardbroker.config.validation import validate
from shardbroker.errors import ConfigError, UsageError

#: What to give a flag of a kind, and what should come out.
SAMPLES = {
    str: ("word", "word"),
    integer: ("17", 17),
    size: ("2kb", 2048),
    duration: ("1m", 60.0),
    boolean: ("1", True),
    sync_mode: ("commit", True),
}
WITHOUT_FLAG = {"http_host", "auth_timeout_s"}


@pytest.mark.parametrize("names", _OPTION_FLAGS, ids=lambda names: names[0])
def test_every_name_sets_its_option(names: tuple[str, ...]) -> None:
    convert, option = _OPTION_FLAGS[names]
    text, value = SAMPLES[convert]
    for name in names:
        for dashes in ("-", "--"):
            assert getattr(parse_arguments([f"{dashes}{name}={text}"]).options, option) == value
            if convert is not boolean:
                assert getattr(parse_arguments([f"{dashes}{name}", text]).options, option) == value


def test_every_option_has_a_flag() -> None:
    options = {field.name for field in dataclasses.fields(Options)}
    assert options - {option for _, option in _OPTION_FLAGS.values()} == WITHOUT_FLAG


def test_no_arguments_are_the_defaults() -> None:
    command = parse_arguments([])
    assert command.action == "serve"
    assert command.options == Options()
    validate(command.options)


def test_double_flags() -> None:
    for flag in ("-DV", "-DVV"):
        options = parse_arguments([flag]).options
        assert options.debug and options.trace
    options = parse_arguments(["-VV"]).options
    assert options.trace and not options.debug


@pytest.mark.parametrize("names", _REFUSED_FLAGS, ids=lambda names: names[0])
def test_refused_by_name_with_the_reason(names: tuple[str, ...]) -> None:
    convert, why = _REFUSED_FLAGS[names]
    for name in names:
        with pytest.raises(ConfigError) as caught:
            parse_arguments([f"-{name}={SAMPLES[convert][0]}"])
        assert f"-{names[0]}: " in str(caught.value) and why in str(caught.value)
        off = {str: "", boolean: "false"}.get(convert, "0")
        assert parse_arguments([f"-{name}={off}"]).options == Options()


@pytest.mark.parametrize(
    ("arguments", "action"),
    [(["-h"], "help"), (["--help"], "help"), (["help"], "help"), (["-v"], "version"),
     (["VERSION"], "version"), (["-sl", "stop=1"], "signal"), (["-js", "-v"], "version")],
)  # fmt: skip
def test_actions(arguments: list[str], action: str) -> None:
    assert parse_arguments(arguments).action == action


def test_last_one_wins() -> None:
    assert parse_arguments(["-p", "1", "--port=2"]).options.port == 2


def test_errors_of_usage_and_of_options_differ() -> None:
    with pytest.raises(UsageError):
        parse_arguments(["-nope"])
    with pytest.raises(ConfigError, match="unrecognized command"):
        parse_arguments(["nope"])


@pytest.mark.parametrize(
    "arguments",
    [["-p", "65536"], ["-p", "-2"], ["-m", "70000"], ["--workers", "65"], ["--workers", "-1"], ["-n", "a b"],
     ["--max_payload", "0"], ["--max_payload", "65mb"], ["--max_pending", "1kb"], ["--ring_size", "3mb"],
     ["--ring_size", "1kb"], ["--write_deadline", "0"], ["--lame_duck_duration", "10s"], ["--ping_max", "-1"],
     ["--client_advertise", "host:port"], ["--max_control_line", "-5"]],
    ids=" ".join,
)  # fmt: skip
def test_impossible_options_are_refused(arguments: list[str]) -> None:
    options = parse_arguments(arguments).options
    with pytest.raises(ConfigError):
        validate(options)
