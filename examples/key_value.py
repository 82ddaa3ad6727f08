"""A key-value bucket: put, watch, change only what nobody else has changed, look at the history.

    python examples/key_value.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a broker with JetStream (``shardbroker -js``). Prints what the
watcher saw, and ends; its bucket is removed again.
"""

import asyncio
import sys

import nats
from nats.js.errors import KeyWrongLastSequenceError


async def main(server: str) -> None:
    """Two writers and a watcher on one bucket."""
    client = await nats.connect(server)
    js = client.jetstream()
    bucket = await js.create_key_value(bucket="SETTINGS", history=5)
    try:
        watcher = await bucket.watch("colour.*")
        assert await watcher.updates(timeout=5) is None  # all that was there has come: nothing yet

        first = await bucket.put("colour.sky", b"grey")
        await bucket.update("colour.sky", b"blue", last=first)
        try:
            await bucket.update("colour.sky", b"red", last=first)
            raise AssertionError("an old revision was accepted")
        except KeyWrongLastSequenceError:
            print("too late: colour.sky was changed by somebody else")
        await bucket.put("size.sky", b"large")  # not watched
        await bucket.delete("colour.sky")

        for _ in range(3):
            entry = await watcher.updates(timeout=5)
            print(f"{entry.key} revision {entry.revision}: {entry.operation or entry.value.decode()}")
        history = [entry.value.decode() for entry in await bucket.history("colour.sky") if entry.value]
        assert history == ["grey", "blue"], history
        print(f"it was {', '.join(history)}; keys now: {await bucket.keys()}")
    finally:
        await js.delete_key_value("SETTINGS")
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
