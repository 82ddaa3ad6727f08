"""The report is a pure function of the results file: a canned file must give this table and these plots."""

import copy
import json

import pytest

from loadtests.compare.__main__ import main
from loadtests.compare.case import Goal
from loadtests.compare.report import goals_reached, lines_of, render


def a_case(name, figure, ours, peer, **goal):
    return {
        "name": name,
        "title": f"title of {name}",
        "sweep": "size" if name.startswith("size") else "",
        "x": float(name.partition("_")[2] or 0) if name.startswith("size") else 0.0,
        "goals": [{"figure": figure, "at_least": None, "at_most": None, "absolute": False} | goal],
        "samples": {
            "ours": [{figure: value, "foreign_cores": 0.0} for value in ours],
            "peer": [{figure: value, "foreign_cores": 0.0} for value in peer],
        },
    }


@pytest.fixture(name="results")
def fixture_results():
    return {
        "format": 1,
        "start_s": 1.0,
        "date": "2026-01-02 03:04:05 +0000",
        "commit": "abc",
        "changed_files": 0,
        "command_line": ["python", "-m", "loadtests.compare"],
        "machine": {
            "cpu": "CPU",
            "cores": 2,
            "memory_gb": 1,
            "system": "Linux",
            "kernel": "6",
            "python": "3",
        },
        "servers": {
            "ours": {"name": "shardbroker", "command": ["a"], "version": "1"},
            "peer": {"name": "nats-server", "command": ["b"], "version": "2"},
        },
        "pairs": 3,
        "seconds": 1.0,
        "cases": [
            a_case("fast", "deliveries_per_s", [3e6, 6e6, 4e6], [1e6, 1e6, 1e6], at_least=3.0),
            a_case("slow", "p99_us", [200.0, 200.0, 200.0], [100.0, 100.0, 100.0], at_most=1.0),
            a_case("quiet", "idle_cores_empty", [0.001] * 3, [0.0] * 3, at_most=0.02, absolute=True),
            a_case("size_64", "deliveries_per_s", [3e6], [1e6]),
            a_case("size_1024", "deliveries_per_s", [2e6], [1e6]),
        ],
    }


def test_lines_tell_medians_ratio_and_verdict(results):
    fast, slow, quiet, *sizes = lines_of(results)
    assert (fast.ours, fast.peer, fast.ratio.median, fast.reached) == (4e6, 1e6, 4.0, True)
    assert (slow.ratio.median, slow.reached) == (2.0, False)
    assert quiet.reached is True
    assert [line.reached for line in sizes] == [None, None]
    assert not goals_reached(results)


def test_the_table_names_what_was_measured(results):
    text = render(results)
    assert "| title of fast " in text
    assert "4 (3..6)" in text
    assert "NOT REACHED" in text
    assert "Goals reached: 2 of 3." in text
    assert "Remarks" not in text


def test_failed_and_disturbed_samples_are_named_and_a_goal_without_figures_is_missed(results):
    results = copy.deepcopy(results)
    results["cases"][0]["samples"]["ours"] = [{"failure": "LoadError: lost"}] * 3
    results["cases"][1]["samples"]["peer"][1]["foreign_cores"] = 0.7
    text = render(results)
    assert "failed: fast, pair 1, shardbroker: LoadError: lost" in text
    assert "disturbed: during 1 samples" in text
    assert lines_of(results)[0].reached is False


def test_what_a_server_does_not_have_is_not_called_failed(results):
    results = copy.deepcopy(results)
    syncs = a_case("js_128", "syncs_per_1000", [0.5], [0.0], at_most=20, absolute=True)
    syncs["samples"]["peer"] = [{"messages_per_s": 1e5}]
    results["cases"] = [syncs]
    (line,) = lines_of(results)
    assert (line.cells(first=True)[2:4], line.reached) == (["0.5", "-"], True)
    syncs["samples"]["ours"] = [{"failure": "LoadError: " + "x" * 5000}]
    (line,) = lines_of(results)
    assert (line.cells(first=True)[2:4], line.reached) == (["failed", "-"], False)
    assert max(len(each) for each in render(results).splitlines()) < 500


def test_quick_figures_say_so(results):
    assert "proves nothing" not in render(results)
    assert "proves nothing" in render(results | {"quick": True})


def test_a_goal_on_our_own_figure_needs_no_peer():
    goal = Goal("idle_cores_empty", at_most=0.02, absolute=True)
    assert goal.reached(None, 0.01)
    assert not goal.reached(0.5, 0.03)
    assert not goal.reached(None, None)
    assert str(goal) == "<= 0.02 itself"


def test_a_results_file_can_be_shown_again(results, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(results))
    assert main(["--report", str(path), "--no-plots"]) == 0
    assert main(["--report", str(path), "--no-plots", "--check"]) == 1
    assert (tmp_path / "run.md").read_text() in capsys.readouterr().out


def test_plots_are_written(results, tmp_path):
    pytest.importorskip("matplotlib")
    from loadtests.compare.plots import write_plots

    for size in (16, 1024):
        point = a_case(f"size_{size}", "messages_per_s", [3e5], [1e5])
        results["cases"].append(point | {"sweep": "stream_size"})
    written = write_plots(results, tmp_path / "run")
    assert [path.name for path in written] == ["run_sizes.png", "run_stream_sizes.png", "run_ratios.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
