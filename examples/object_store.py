"""An object store: put a large object in pieces, look at what there is, get it back, watch changes.

    python examples/object_store.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a broker with JetStream (``shardbroker -js``). Prints what it
does, and ends; its store is removed again.
"""

import asyncio
import hashlib
import io
import sys

import nats
from nats.js.api import ObjectMeta
from nats.js.errors import ObjectNotFoundError

SIZE = 700_000  # bytes: more than one message may have


async def main(server: str) -> None:
    """A picture goes in, comes out, and is deleted, while somebody watches."""
    client = await nats.connect(server)
    js = client.jetstream()
    store = await js.create_object_store("PICTURES")
    try:
        watcher = await store.watch()
        assert await watcher.updates(timeout=5) is None  # all that was there has come: nothing yet

        picture = bytes(number * 7919 & 255 for number in range(SIZE))
        put = await store.put("sky.png", io.BytesIO(picture), meta=ObjectMeta(description="grey, mostly"))
        print(f"{put.name}: {put.size} bytes in {put.chunks} chunks")

        got = await store.get("sky.png")  # checks the digest of what came
        assert hashlib.sha256(got.data).digest() == hashlib.sha256(picture).digest()
        print(f"got back: {len(got.data)} bytes, {got.info.description}")

        await store.update_meta("sky.png", ObjectMeta(name="sky.png", description="blue, after all"))
        print(f"there is: {[(each.name, each.description) for each in await store.list()]}")

        await store.delete("sky.png")
        try:
            await store.get("sky.png")
            raise AssertionError("a deleted object was found")
        except ObjectNotFoundError:
            print("sky.png is gone")

        for what in ("put", "described", "deleted"):
            change = await watcher.updates(timeout=5)
            print(f"somebody saw that {change.name} was {what}")
    finally:
        await js.delete_object_store("PICTURES")
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
