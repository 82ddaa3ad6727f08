"""The client's half of ``shardbroker consumer explain``: one request, and errors that say what to do."""

import json

from shardbroker.cli.broker_client import ClientProblem, connect

#: A worker that is just being replaced has its requests wait for 5 s at most.
_ANSWER_S = 8.0
_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND = 10059, 10014
#: Names that are told when the one asked for is not there.
_NAMES_SHOWN = 10


def ask_why(server: str, stream: str, consumer: str) -> dict:
    """The broker's answer to $SHARDBROKER.CONSUMER.EXPLAIN. Raises ClientProblem."""
    import asyncio

    return asyncio.run(_ask_why(server, stream, consumer))


async def _ask_why(server: str, stream: str, consumer: str) -> dict:
    client, _ = await connect(server)
    try:
        answer = await _request(client, f"$SHARDBROKER.CONSUMER.EXPLAIN.{stream}.{consumer}")
        if answer is None:
            if await _request(client, "$JS.API.INFO") is None:
                raise ClientProblem(f"JetStream is off at {server}: the broker has to be started with -js")
            raise ClientProblem(
                f"the server at {server} is no shardbroker, and only that explains its consumers; "
                f"nats consumer info {stream} {consumer} shows the figures"
            )
        if "error" in answer:
            raise ClientProblem(await _refusal(client, answer["error"], stream, consumer))
        return answer
    finally:
        await client.close()


async def _request(client, subject: str) -> dict | None:
    """The answer; None when nobody listens."""
    from nats.errors import Error, NoRespondersError

    try:
        message = await client.request(subject, b"", timeout=_ANSWER_S)
        answer = json.loads(message.data)
    except NoRespondersError:
        return None
    except (Error, TimeoutError) as error:
        raise ClientProblem(f"no answer to {subject} within {_ANSWER_S:g} s: {error}") from error
    except ValueError as error:
        raise ClientProblem(f"the answer to {subject} is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ClientProblem(f"the answer to {subject} is no object")
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
