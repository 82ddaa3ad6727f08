"""Dead letters: what cannot be done goes aside, with the reason, and comes back when it can.

    python examples/dead_letters.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a broker with JetStream (``shardbroker -js``). Prints what happens
to three jobs, of which one is too hard and one is broken; its streams are removed again.

To look into a collecting stream there is ``shardbroker dlq``.
"""

import asyncio
import sys

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy


async def work(client: nats.NATS, js: JetStreamContext, knows_french: bool) -> None:
    """Take what there is, until nothing is left."""
    jobs = await js.pull_subscribe_bind("translator", stream="TEXTS")
    while True:
        info = await jobs.consumer_info()
        if info.num_pending == info.num_ack_pending == 0:  # dead letters do not count
            return
        [job] = await jobs.fetch(1, timeout=10)
        text = job.data.decode(errors="replace")
        if "�" in text:
            # Never again. Confirmed, as a request: answered when the dead letter is on disk.
            await client.request(job.reply, b"+TERM not UTF-8", timeout=5)
        elif job.headers["Language"] == "French" and not knows_french:
            await job.nak()  # maybe somebody else can
        else:
            await job.ack_sync()
            print(f"translated: {text}")


async def main(server: str) -> None:
    """Publish three jobs, work on them, look at the dead letters, send one of them once more."""
    client = await nats.connect(server)
    js = client.jetstream()
    await js.add_stream(name="TEXTS", subjects=["texts.>"], retention=RetentionPolicy.WORK_QUEUE)
    await js.add_stream(name="TEXTS_DEAD", subjects=["dead.texts"])
    try:
        await js.add_consumer(
            "TEXTS",
            ConsumerConfig(
                durable_name="translator",
                ack_wait=30,
                max_deliver=3,
                metadata={"shardbroker.dead_letter": "dead.texts"},
            ),
        )
        await js.publish("texts.new", b"good morning", headers={"Language": "English"})
        await js.publish("texts.new", b"bonjour", headers={"Language": "French"})
        await js.publish("texts.new", b"\xff\xfe", headers={"Language": "English"})
        await work(client, js, knows_french=False)

        for sequence in range(1, (await js.stream_info("TEXTS_DEAD")).state.last_seq + 1):
            letter = await js.get_msg("TEXTS_DEAD", sequence)
            reason, count = (letter.headers[f"Shardbroker-Dead-{name}"] for name in ("Reason", "Deliveries"))
            print(f"dead: {letter.data!r} ({reason}, deliveries: {count})")
            if reason == "max_deliver":
                # What `shardbroker dlq redrive` does, in few lines.
                subject = letter.headers["Shardbroker-Dead-Subject"]
                await js.publish(subject, letter.data, headers={"Language": letter.headers["Language"]})
                await js.delete_msg("TEXTS_DEAD", sequence)
        await work(client, js, knows_french=True)
        left = (await js.stream_info("TEXTS_DEAD")).state.messages
        print(f"dead letters left: {left}")
    finally:
        await js.delete_stream("TEXTS")
        await js.delete_stream("TEXTS_DEAD")
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
