"""The command line: cases are chosen by name or star, servers replaced in order, nonsense is refused."""

import pytest

from loadtests.compare.arguments import describe_cases, parse_arguments
from loadtests.compare.cases import cases, choose
from loadtests.servers import ServerError, nats_server_spec

two_servers = ["--server", "a=true", "--server", "b=true -x"]


def test_defaults():
    options = parse_arguments(two_servers)
    assert options.chosen == list(cases)
    assert (options.pairs, options.seconds, options.workers) == (5, 1.0, "default")


def test_servers_replace_both_sides_in_order():
    servers = parse_arguments(two_servers).servers
    assert (servers["ours"].name, servers["peer"].command) == ("a", ("true", "-x"))


def test_workers_are_handed_to_shardbroker():
    try:
        nats_server_spec()
    except ServerError as error:
        pytest.skip(str(error))
    assert parse_arguments(["--workers", "3"]).servers["ours"].command[-2:] == ("--workers", "3")


def test_cases_by_name_and_star_once_each():
    names = [case.name for case in choose("1to1_16,1to1_*")]
    assert names[0] == "1to1_16"
    assert len(names) == len(set(names)) > 2


@pytest.mark.parametrize(
    "arguments",
    [["--cases", "none"], ["--pairs", "0"], ["--seconds", "-1"], ["--workers", "x"], ["--server", "none"],
     [*two_servers, "--server", "c=true"]],
)  # fmt: skip
def test_nonsense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(arguments)
    assert stop.value.code == 2


def test_case_names_are_unique_and_listed():
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    assert all(name in describe_cases() for name in names)
