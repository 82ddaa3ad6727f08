"""Request and reply: a small service, a question to it, and a question that nobody answers.

    python examples/request_reply.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a running broker. Prints the answers, and ends.
"""

import asyncio
import sys

import nats
import nats.errors
from nats.aio.msg import Msg


async def square(request: Msg) -> None:
    """The service: the square of the number in the request."""
    await request.respond(str(int(request.data) ** 2).encode())


async def main(server: str) -> None:
    """Serve on one connection, ask on another."""
    service = await nats.connect(server)
    await service.subscribe("math.square", cb=square)
    # The broker has handled the subscription when flush returns: requests sent from now on find it,
    # whichever worker they come in by.
    await service.flush()

    client = await nats.connect(server)
    for number in (3, 12):
        answer = await client.request("math.square", str(number).encode(), timeout=5)
        print(f"the square of {number} is {answer.data.decode()}")
    try:
        # Nobody subscribes to this subject: the broker says so at once, no timeout is waited for.
        await client.request("math.cube", b"3", timeout=5)
    except nats.errors.NoRespondersError:
        print("nobody answers math.cube")

    await client.close()
    await service.drain()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
