"""No sequence is ever given twice, although the end of a log was lost (RELIABILITY I4).

A stream's metadata name a sequence up to which all may be in use. That must hold far behind the first
reserve, over a change of the configuration, and for the successor of a dead owner.
"""

import json
from pathlib import Path

import pytest

from shardbroker.storage.disk import Disk
from shardbroker.storage.layout import CONFIG_SLOTS, LOGS, STORE_DIRECTORY
from shardbroker.storage.metadata import Slots
from shardbroker.storage.watermark import read_watermark
from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import RawClient
from tests.system.jetstream_load import ask, create_stream, stream_state

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="the store of another server is another one")

#: Far behind what a new stream reserves.
FAR = 5_000_000


def log_directory(store: Path) -> Path:
    """That of the only stream."""
    (found,) = (store / STORE_DIRECTORY / LOGS).iterdir()
    return found


def metadata(store: Path) -> dict:
    """The newest body of the stream's metadata, as a crash at this moment would leave it."""
    paths = [log_directory(store) / name for name in CONFIG_SLOTS]
    return json.loads(Slots([path.read_bytes() if path.exists() else None for path in paths]).body)


def publish(client: RawClient) -> int:
    """The sequence of a new message."""
    return ask(client, "r.x", {"some": "text"})["seq"]


def go_far(client: RawClient) -> None:
    """A stream whose next sequence is FAR."""
    create_stream(client, "R", subjects=["r.>"])
    assert publish(client) == 1
    assert ask(client, "$JS.API.STREAM.PURGE.R", {"seq": FAR})["success"]


def lose_the_end(store: Path) -> None:
    """Zeros where frames were."""
    directory = log_directory(store)
    assert read_watermark(Disk(), str(directory)) > 2, "it is not known that there were more"
    for path in directory.glob("*.seg"):
        with path.open("r+b") as file:
            file.seek(64 + 64)
            file.write(bytes(path.stat().st_size - file.tell()))


def test_the_reserve_is_durable_before_what_needs_it_is_acknowledged(tmp_path: Path) -> None:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker, broker.client() as client:
        go_far(client)
        assert publish(client) == FAR
        assert metadata(tmp_path)["reserved"] >= FAR
        config = ask(client, "$JS.API.STREAM.INFO.R")["config"]
        ask(client, "$JS.API.STREAM.UPDATE.R", {**config, "description": "changed"})
        stored = metadata(tmp_path)
        assert stored["reserved"] >= FAR and stored["config"]["description"] == "changed"


def test_sequences_go_on_behind_all_that_may_be_lost(tmp_path: Path) -> None:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker, broker.client() as client:
        go_far(client)
        last = max(publish(client) for _ in range(10))
        directory = log_directory(tmp_path)
        wait_until(lambda: read_watermark(Disk(), str(directory)) > 2, 10, "the watermark is written")
        broker.kill()
    lose_the_end(tmp_path)
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker, broker.client() as client:
        assert stream_state(client, "R")["last_seq"] > last
        assert publish(client) > last
