"""Calls about consumers, as long as no stream can have one: lists are empty, and no consumer is found.

What makes a consumer is refused in plain words (10012), once the stream is found. Spec page 02.
"""

from typing import TYPE_CHECKING

from shardbroker.jetstream import api_errors, api_requests, api_types

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request


def names(request: "Request") -> None:
    """CONSUMER.NAMES."""
    wish = api_requests.read_consumer_page(request.payload)
    request.entry()
    request.answer(api_types.names_page("CONSUMER.NAMES", [], wish.offset))


def listing(request: "Request") -> None:
    """CONSUMER.LIST."""
    wish = api_requests.read_consumer_page(request.payload)
    request.entry()
    request.answer(api_types.list_page("CONSUMER.LIST", [], total=0, offset=wish.offset))


def absent(request: "Request") -> None:
    """INFO and DELETE, which take no body."""
    api_requests.require_empty(request.payload)
    missing(request)


def missing(request: "Request") -> None:
    """All other calls about a consumer that is there."""
    request.entry()
    raise api_errors.CONSUMER_NOT_FOUND.fresh()


def refused(request: "Request") -> None:
    """CREATE."""
    request.entry()
    raise api_errors.CONSUMER_CREATE(err="consumers are not supported yet")


CALLS = {
    "CONSUMER.NAMES": names,
    "CONSUMER.LIST": listing,
    "CONSUMER.INFO": absent,
    "CONSUMER.DELETE": absent,
    "CONSUMER.PAUSE": missing,
    "CONSUMER.UNPIN": missing,
    "CONSUMER.RESET": missing,
    "CONSUMER.CREATE": refused,
    "CONSUMER.DURABLE.CREATE": refused,
}
