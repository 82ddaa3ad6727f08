"""The client's half of ``shardbroker consumer explain``: one request, and errors that say what to do.

nats-py is the client, so servers may be named in every way that it knows. It and asyncio are imported when
they are used: the broker starts through the same program and needs neither.
"""

import json
import os

from shardbroker.errors import ShardbrokerError

SERVER_DEFAULT = "nats://127.0.0.1:4222"
_CONNECT_S = 3  # for each server named
_ALL_CONNECTS_S = 10.0
#: A worker that is just being replaced has its requests wait for 5 s at most.
_ANSWER_S = 8.0
_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND = 10059, 10014
#: Names that are told when the one asked for is not there.
_NAMES_SHOWN = 10


class Unanswered(ShardbrokerError):
    """There is no explanation; the text says why, for a person."""


def ask_why(server: str, stream: str, consumer: str) -> dict:
    """The broker's answer to $SHARDBROKER.CONSUMER.EXPLAIN. Raises Unanswered."""
    import asyncio

    return asyncio.run(_ask_why(server, stream, consumer))


async def _ask_why(server: str, stream: str, consumer: str) -> dict:
    client = await _connect(server)
    try:
        answer = await _request(client, f"$SHARDBROKER.CONSUMER.EXPLAIN.{stream}.{consumer}")
        if answer is None:
            if await _request(client, "$JS.API.INFO") is None:
                raise Unanswered(f"JetStream is off at {server}: the broker has to be started with -js")
            raise Unanswered(
                f"the server at {server} is no shardbroker, and only that explains its consumers; "
                f"nats consumer info {stream} {consumer} shows the figures"
            )
        if "error" in answer:
            raise Unanswered(await _refusal(client, answer["error"], stream, consumer))
        return answer
    finally:
        await client.close()


async def _connect(server: str):
    import asyncio

    import nats
    from nats.errors import Error

    causes: list[Exception] = []

    async def remember(error: Exception) -> None:
        """nats-py tells here why it could not connect, and raises something less telling."""
        causes.append(error)

    try:
        async with asyncio.timeout(_ALL_CONNECTS_S):
            return await nats.connect(
                server,
                name="shardbroker consumer explain",
                allow_reconnect=False,
                connect_timeout=_CONNECT_S,
                # A server that does not answer is tried once more, and not for two minutes.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=remember,
            )
    except (Error, OSError, ValueError, TimeoutError) as error:
        reason = _reason(causes[-1] if causes else error)
        raise Unanswered(
            f"no connection to {server}: {reason}. Is a broker there? Give its address with -s or NATS_URL"
        ) from error


def _reason(error: Exception) -> str:
    """Why there is no connection. asyncio's own text of a refused one leaves out that it was refused."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _request(client, subject: str) -> dict | None:
    """The answer; None when nobody listens."""
    from nats.errors import Error, NoRespondersError

    try:
        message = await client.request(subject, b"", timeout=_ANSWER_S)
        answer = json.loads(message.data)
    except NoRespondersError:
        return None
    except (Error, TimeoutError) as error:
        raise Unanswered(f"no answer to {subject} within {_ANSWER_S:g} s: {error}") from error
    except ValueError as error:
        raise Unanswered(f"the answer to {subject} is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise Unanswered(f"the answer to {subject} is no object")
    return answer


async def _refusal(client, error: dict, stream: str, consumer: str) -> str:
    """The broker's error in words, with the names that there are."""
    if error.get("err_code") == _STREAM_NOT_FOUND:
        there = await _names(client, "$JS.API.STREAM.NAMES", "streams")
        return f"there is no stream {stream}; {there}"
    if error.get("err_code") == _CONSUMER_NOT_FOUND:
        there = await _names(client, f"$JS.API.CONSUMER.NAMES.{stream}", "consumers")
        return f"stream {stream} has no consumer {consumer}; {there}"
    return f"{error.get('description', 'refused')} ({error.get('err_code', 0)})"


async def _names(client, subject: str, key: str) -> str:
    answer = await _request(client, subject) or {}
    names = answer.get(key) or []
    if not names:
        return f"there are no {key}"
    more = answer.get("total", len(names)) - _NAMES_SHOWN
    return f"there are: {', '.join(names[:_NAMES_SHOWN])}" + (f" and {more} more" if more > 0 else "")
