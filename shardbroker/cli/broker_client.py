"""How commands reach a running broker: as a client like any other, with nats-py.

So servers may be named in every way that clients know. nats-py and asyncio are imported when they are used:
the broker starts through the same program and needs neither.
"""

import argparse
import os
from collections.abc import Coroutine, Iterable
from typing import Any

from shardbroker.errors import ShardbrokerError

_DEFAULT_SERVER = "nats://127.0.0.1:4222"
_CONNECT_S = 3  # for each server named
_ALL_CONNECTS_S = 10.0


class ClientProblem(ShardbrokerError):
    """Why a command cannot do what it was asked for, in words for its user."""


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """``-s URL``: where the broker is."""
    parser.add_argument(
        "-s", "--server", metavar="URL", default=os.environ.get("NATS_URL") or _DEFAULT_SERVER,
        help="the broker (default: the environment's NATS_URL, or %(default)s)",
    )  # fmt: skip


async def connect(server: str) -> tuple[Any, list[Exception]]:
    """A nats-py client, and the list to which it adds what goes wrong later. Raises ClientProblem."""
    import asyncio

    import nats
    from nats.errors import Error

    causes: list[Exception] = []

    async def remember(error: Exception) -> None:
        """nats-py tells here what went wrong, and raises something less telling."""
        causes.append(error)

    try:
        async with asyncio.timeout(_ALL_CONNECTS_S):
            client = await nats.connect(
                server,
                name="shardbroker command",
                allow_reconnect=False,
                connect_timeout=_CONNECT_S,
                # A server that does not answer is tried once more, and not for two minutes.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=remember,
            )
    except (Error, OSError, ValueError, TimeoutError) as error:
        raise ClientProblem(
            f"no connection to {server}: {reason_of(causes[-1] if causes else error)}. Is a broker there? "
            "Give its address with -s or NATS_URL"
        ) from None
    return client, causes


async def together(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side; the first problem ends all, and is raised as if it were the only one."""
    import asyncio

    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def reason_of(error: Exception) -> str:
    """What went wrong, in words. asyncio's own text leaves out that a connection was refused."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
