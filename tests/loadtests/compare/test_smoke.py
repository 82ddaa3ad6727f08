"""One real run, short: nats-server against itself must be measured without a failed sample."""

import json

import pytest

from loadtests.compare.__main__ import main
from loadtests.servers import ServerError, ServerSpec


def test_a_short_comparison(nats_server, tmp_path, capfd):
    cases = ["--cases", "1to1_128,queue_4,request_1", "--pairs", "1"]
    arguments = ["--server", f"ours={nats_server.command[0]}", *cases]
    assert (
        main([*arguments, "--seconds", "0.1", "--no-plots", "--out", str(tmp_path), "--name", "smoke"]) == 0
    )
    results = json.loads((tmp_path / "smoke.json").read_text())
    for case in results["cases"]:
        for samples in case["samples"].values():
            assert not [sample for sample in samples if "failure" in sample]
    assert "1to1_128" in capfd.readouterr().err


def test_a_server_that_does_not_start_says_why():
    spec = ServerSpec("broken", ("sh", "-c", "echo no such luck; exit 3"))
    with pytest.raises(ServerError, match="ended with 3: no such luck"), spec.running():
        pass
