"""Names that nobody has given, and nobody guesses: of events, inboxes, consumers and feeds."""

import os

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_EVENT_ID_SIZE = 22  # as of nats-server's nuid


def random_name(size: int) -> str:
    """So many letters and digits."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(size))


def new_event_id() -> str:
    """The id of an event, or a part of a subject that must be nobody else's."""
    return random_name(_EVENT_ID_SIZE)
