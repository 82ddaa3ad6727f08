"""Publish and subscribe: one subscription with a wildcard, three messages, one with a header.

    python examples/core_publish.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a running broker. Prints what arrives, and ends.
"""

import asyncio
import sys

import nats
from nats.aio.msg import Msg


async def main(server: str) -> None:
    """Say three things about the weather, and listen."""
    client = await nats.connect(server)
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    # ``>`` stands for one or more tokens at the end, ``*`` for exactly one anywhere.
    await client.subscribe("weather.>", cb=arrived.put)

    await client.publish("weather.berlin", b"rain")
    await client.publish("weather.cairo.airport", b"sun")
    await client.publish("weather.oslo", b"snow", headers={"Source": "the window"})

    # One publisher's messages arrive in the order in which they were published.
    for _ in range(3):
        message = await asyncio.wait_for(arrived.get(), timeout=5)
        source = (message.headers or {}).get("Source", "somebody")
        print(f"{message.subject}: {message.data.decode()}, says {source}")
    # drain() unsubscribes, waits for what is under way, and closes.
    await client.drain()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
