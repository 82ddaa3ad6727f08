"""Calls for one stream that come at the same time, with nats-py as the client."""

import asyncio
from pathlib import Path

import nats
import pytest
from nats.js.errors import APIError, BadRequestError

from tests.support.broker_process import BrokerProcess

CLIENTS = 6
NAME_EXIST = 10058


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_creating_at_once(tmp_path: Path, storage: str) -> None:
    """All who ask for the same stream get it; of those who ask for different ones of a name, one."""

    async def create(client: nats.NATS, name: str, subject: str) -> int:
        try:
            await client.jetstream().add_stream(name=name, subjects=[subject], storage=storage)
        except BadRequestError as error:
            return error.err_code
        except APIError as error:
            pytest.fail(str(error))
        return 0

    async def play(broker: BrokerProcess) -> None:
        server = f"nats://{broker.host}:{broker.port}"
        clients = [await nats.connect(server) for _ in range(CLIENTS)]
        for turn in range(4):
            equal = (create(client, f"SAME{turn}", f"same.{turn}") for client in clients)
            same = await asyncio.gather(*equal)
            assert same == [0] * CLIENTS
            others = await asyncio.gather(
                *(
                    create(client, f"OTHER{turn}", f"other.{turn}.{number}")
                    for number, client in enumerate(clients)
                )
            )
            assert sorted(others) == [0] + [NAME_EXIST] * (CLIENTS - 1)
        assert len(await clients[0].jetstream().streams_info()) == 8
        for client in clients:
            await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_an_answer_larger_than_max_payload_reaches_every_worker(tmp_path: Path) -> None:
    """A whole payload is a third longer in the answer, and goes over the ring from its owner to the asker."""

    async def play(broker: BrokerProcess) -> None:
        server = f"nats://{broker.host}:{broker.port}"
        clients = [await nats.connect(server) for _ in range(CLIENTS)]
        js = clients[0].jetstream()
        await js.add_stream(name="LARGE", subjects=["large"])
        await js.publish("large", bytes(1 << 20))
        for client in clients:
            message = await client.jetstream(timeout=20).get_msg("LARGE", 1)
            assert message.data == bytes(1 << 20)
            await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))
        workers = broker.monitor("/shardz")["shards"]
        assert all(row["statistics"]["connections_total"] for row in workers)
