"""The command line: cases are chosen by name or star, servers replaced in order, nonsense is refused."""

import pytest

from loadtests.compare.arguments import describe_cases, parse_arguments
from loadtests.compare.case import full_scale, quick_scale
from loadtests.compare.cases import cases
from loadtests.compare.groups import choose, groups
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


def test_groups_are_chosen_by_name():
    streams = groups()["jetstream"]
    chosen = parse_arguments([*two_servers, "--cases", "jetstream"]).chosen
    assert [case.name for case in chosen] == [case.name for case in streams]
    assert {case.name for case in choose("core,jetstream")} == {case.name for case in [*cases, *streams]}
    consumers = choose("consumers")
    assert all(case.streams for case in [*streams, *consumers]) and not any(case.streams for case in cases)


def test_a_rate_of_consumers_comes_with_a_goal_for_the_cpu():
    goals = {case.name: {goal.figure: goal for goal in case.goals} for case in choose("consumers")}
    assert all("cpu_ns" in each for each in goals.values())
    assert str(goals["pull_500"]["messages_per_s"]) == ">= 3"
    assert str(goals["pull_500"]["cpu_ns"]) == "<= 0.333"


def test_quick_is_small_and_short_unless_told_otherwise():
    options = parse_arguments([*two_servers, "--quick"])
    assert (options.pairs, options.seconds, options.scale) == (1, 0.2, quick_scale)
    options = parse_arguments([*two_servers, "--quick", "--pairs", "3", "--stored-messages", "77"])
    assert (options.pairs, options.scale.stored_messages) == (3, 77)
    assert options.scale.streams == quick_scale.streams < full_scale.streams
    (start,) = choose("js_start", options.scale)
    assert "77 messages" in start.title


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
    every = choose("all")
    names = [case.name for case in every]
    assert len(names) == len(set(names))
    assert all(name in describe_cases(every) for name in names)
