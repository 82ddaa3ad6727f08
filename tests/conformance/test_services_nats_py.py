"""Property: services of nats-py (``nats.micro``) are found and share their work, with two workers.

Services are a convention over core NATS: endpoints are queue groups, and ``$SRV.PING``, ``$SRV.INFO`` and
``$SRV.STATS`` are requests that every instance answers.
"""

import json

import nats
import nats.micro
import pytest
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from tests.conformance.servers import Server

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 10.0
REQUESTS = 200
#: The type that each kind of answer names (spec page 07).
TYPES = {"PING": "ping", "INFO": "info", "STATS": "stats"}


async def serve(server: Server, who: str) -> tuple[nats.NATS, Service]:
    """One instance, on a connection of its own."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")

    async def double(request: Request) -> None:
        if request.data == b"fail":
            await request.respond_error("400", "no number")
        else:
            await request.respond(b"%d %b" % (2 * int(request.data), who.encode()))

    service = await nats.micro.add_service(
        client, ServiceConfig(name="doubler", version="1.0.0", metadata={"who": who})
    )
    await service.add_endpoint(EndpointConfig(name="double", subject="py.svc.double", handler=double))
    await client.flush()
    return client, service


async def discover(client: nats.NATS, verb: str, count: int) -> list[dict]:
    """Answers of all instances to one of the requests that every service knows."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(f"$SRV.{verb}.doubler", reply=inbox)
    found = [json.loads((await subscription.next_msg(timeout=WAIT_S)).data) for _ in range(count)]
    await subscription.unsubscribe()
    return found


async def test_instances_are_found_and_share_the_work(broker: Server) -> None:
    """Four instances on four connections, which two workers serve."""
    instances = [await serve(broker, f"instance {number}") for number in range(4)]
    client = await nats.connect(f"nats://127.0.0.1:{broker.port}")
    ids = sorted(service.id for _, service in instances)
    for verb, kind in TYPES.items():
        found = await discover(client, verb, 4)
        assert sorted(each["id"] for each in found) == ids
        assert {each["type"] for each in found} == {f"io.nats.micro.v1.{kind}_response"}
    one = json.loads((await client.request(f"$SRV.INFO.doubler.{ids[0]}", timeout=WAIT_S)).data)
    assert (one["id"], one["endpoints"][0]["subject"]) == (ids[0], "py.svc.double")

    answers = [
        (await client.request("py.svc.double", b"%d" % number, timeout=WAIT_S)).data.split(b" ", 1)
        for number in range(REQUESTS)
    ]
    assert [int(number) for number, _ in answers] == [2 * number for number in range(REQUESTS)]
    assert len({who for _, who in answers}) == 4
    error = await client.request("py.svc.double", b"fail", timeout=WAIT_S)
    assert error.headers["Nats-Service-Error-Code"] == "400"

    stats = [each["endpoints"][0] for each in await discover(client, "STATS", 4)]
    assert sum(each["num_requests"] for each in stats) == REQUESTS + 1
    for connection, service in instances:
        await service.stop()
        await connection.close()
    with pytest.raises(nats.errors.NoRespondersError):
        await client.request("py.svc.double", b"1", timeout=WAIT_S)
    await client.close()
