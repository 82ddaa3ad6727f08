"""A queue group: three workers share the jobs, each job is done by exactly one of them.

    python examples/queue_workers.py [nats://HOST:PORT]

Needs nats-py (``pip install nats-py``) and a running broker. Prints how the jobs were shared, and ends.
"""

import asyncio
import sys
from collections import Counter

import nats
from nats.aio.msg import Msg

JOBS_COUNT = 300


class Worker:
    """One member of the group, with a connection of its own as a program of its own would have."""

    def __init__(self, name: str):
        self.name = name
        self.done: list[int] = []

    async def start(self, server: str) -> None:
        """Join the group: members are those who subscribe with the same queue name."""
        self.client = await nats.connect(server, name=self.name)
        await self.client.subscribe("jobs.*", queue="workers", cb=self.work)
        await self.client.flush()

    async def work(self, job: Msg) -> None:
        """Do one job and report it."""
        self.done.append(int(job.data))
        await job.respond(b"done")


async def main(server: str) -> None:
    """Hand out jobs and wait until each is reported."""
    workers = [Worker(f"worker {number}") for number in range(1, 4)]
    for worker in workers:
        await worker.start(server)

    boss = await nats.connect(server, name="boss")
    # Which member gets a job is chance; over many jobs the shares are about equal.
    await asyncio.gather(
        *(boss.request("jobs.print", str(number).encode(), timeout=10) for number in range(JOBS_COUNT))
    )

    times_done = Counter(number for worker in workers for number in worker.done)
    assert times_done == Counter(range(JOBS_COUNT)), "a job was lost or done twice"
    for worker in workers:
        print(f"{worker.name} did {len(worker.done)} jobs")
        await worker.client.drain()
    await boss.close()
    print(f"{JOBS_COUNT} jobs, each done once")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
