"""A work queue that survives: jobs wait on disk until a worker has confirmed them.

    python examples/work_queue.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a broker with JetStream (``shardbroker -js``). Prints how the jobs
were shared, and ends; its stream is removed again.
"""

import asyncio
import sys
from collections import Counter

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy

JOBS_COUNT = 300
FETCH = 20


async def work(js: JetStreamContext, name: str, done: Counter) -> None:
    """Take jobs until there are none for a while. The first try of every tenth job fails."""
    jobs = await js.pull_subscribe_bind("workers", stream="JOBS")
    while True:
        try:
            batch = await jobs.fetch(FETCH, timeout=1)
        except TimeoutError:
            return
        for job in batch:
            if int(job.data) % 10 == 0 and job.metadata.num_delivered == 1:
                await job.nak()  # it comes again, to whoever asks next
                continue
            # Answered when the acknowledgement is on disk: this job cannot come again, whatever dies.
            await job.ack_sync()
            done[name] += 1


async def main(server: str) -> None:
    """Store jobs, let three workers do them, look at what is left."""
    client = await nats.connect(server)
    js = client.jetstream()
    await js.add_stream(name="JOBS", subjects=["jobs.>"], retention=RetentionPolicy.WORK_QUEUE)
    try:
        for number in range(JOBS_COUNT):
            await js.publish("jobs.print", str(number).encode())  # returns when the job is on disk
        await js.add_consumer("JOBS", ConsumerConfig(durable_name="workers", ack_wait=30))

        done: Counter = Counter()
        await asyncio.gather(*(work(js, f"worker {number}", done) for number in range(1, 4)))

        left = (await js.stream_info("JOBS")).state.messages
        assert done.total() == JOBS_COUNT and left == 0, "a job was lost or done twice"
        print(f"{JOBS_COUNT} jobs stored, each done once")
        print(", ".join(f"{name} did {count}" for name, count in sorted(done.items())))
    finally:
        await js.delete_stream("JOBS")
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
