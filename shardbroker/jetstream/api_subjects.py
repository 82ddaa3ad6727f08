"""Which call of the JetStream API a subject names, and the names in it.

``$JS.API.STREAM.INFO.orders`` is the call ``STREAM.INFO`` with the tokens ``("orders",)``. A subject with too
few or too many tokens names no call: nats-server's handlers do not match it, and the client hears nothing.

Calls of our own, which no nats-server has, begin with ``$SHARDBROKER.`` and are split in the same way.

Source: spec page 02, sections 1 and 2.
"""

from typing import NamedTuple

PREFIX = "$JS.API."
OWN_PREFIX = "$SHARDBROKER."
_MANY = -1  # the last token takes the rest of the subject

# Calls and how many tokens follow: (least, most).
_CALLS: dict[str, tuple[int, int]] = {
    "INFO": (0, 0),
    "STREAM.CREATE": (1, 1),
    "STREAM.UPDATE": (1, 1),
    "STREAM.NAMES": (0, 0),
    "STREAM.LIST": (0, 0),
    "STREAM.INFO": (1, 1),
    "STREAM.DELETE": (1, 1),
    "STREAM.PURGE": (1, 1),
    "STREAM.MSG.GET": (1, 1),
    "STREAM.MSG.DELETE": (1, 1),
    "STREAM.SNAPSHOT": (1, 1),
    "STREAM.RESTORE": (1, 1),
    "STREAM.PEER.REMOVE": (1, 1),
    "STREAM.PEER.EVACUATE": (1, 1),
    "STREAM.CANCEL_MOVE": (1, 1),
    "STREAM.LEADER.STEPDOWN": (1, 1),
    # The stream alone is the oldest form; then come the consumer and the filter, which may be several tokens.
    "CONSUMER.CREATE": (1, _MANY),
    "CONSUMER.DURABLE.CREATE": (2, 2),
    "CONSUMER.NAMES": (1, 1),
    "CONSUMER.LIST": (1, 1),
    "CONSUMER.INFO": (2, 2),
    "CONSUMER.DELETE": (2, 2),
    "CONSUMER.PAUSE": (2, 2),
    "CONSUMER.UNPIN": (2, 2),
    "CONSUMER.RESET": (2, 2),
    "CONSUMER.LEADER.STEPDOWN": (2, 2),
    "CONSUMER.PEER.REMOVE": (2, 2),
    "CONSUMER.PEER.EVACUATE": (2, 2),
    "CONSUMER.MSG.NEXT": (2, 2),
    "DIRECT.GET": (1, _MANY),
    "META.LEADER.STEPDOWN": (0, 0),
    "META.RESCUE": (0, 0),
    "SERVER.REMOVE": (0, 0),
    "SERVER.EVACUATE": (0, 0),
    "ACCOUNT.PURGE": (1, 1),
    "ACCOUNT.STREAM.MOVE": (2, 2),
    "ACCOUNT.STREAM.CANCEL_MOVE": (2, 2),
}
KINDS = frozenset(_CALLS)
_OWN_CALLS: dict[str, tuple[int, int]] = {"CONSUMER.EXPLAIN": (2, 2)}
# These are answered in the system account only; from others they are ignored.
SYSTEM_KINDS = frozenset(kind for kind in KINDS if kind.split(".", 1)[0] in ("META", "SERVER", "ACCOUNT"))
# A server that is no member of a cluster refuses these with 10010.
CLUSTER_KINDS = frozenset(
    (
        "STREAM.PEER.REMOVE",
        "STREAM.PEER.EVACUATE",
        "STREAM.CANCEL_MOVE",
        "STREAM.LEADER.STEPDOWN",
        "CONSUMER.LEADER.STEPDOWN",
        "CONSUMER.PEER.REMOVE",
        "CONSUMER.PEER.EVACUATE",
    )
)
# Where tokens beyond the names belong together: after the consumer's, or after the stream's name.
_REST_AFTER = {"CONSUMER.CREATE": 2, "DIRECT.GET": 1}


class ApiCall(NamedTuple):
    """``kind`` is one of `KINDS`, or a call of our own.

    ``tokens`` are stream, consumer, and for some calls a subject.
    """

    kind: str
    tokens: tuple[str, ...]


def split(subject: str) -> ApiCall | None:
    """The call that ``subject`` names; None if it names none.

    ``CONSUMER.CREATE`` has one to three tokens: stream, consumer, filter subject. ``DIRECT.GET`` has the
    stream and perhaps the subject of the wanted message.
    """
    prefix, calls = (OWN_PREFIX, _OWN_CALLS) if subject.startswith(OWN_PREFIX) else (PREFIX, _CALLS)
    if not subject.startswith(prefix):
        return None
    words = subject[len(prefix) :].split(".")
    if "" in words:
        return None
    for length in range(min(len(words), 3), 0, -1):
        kind = ".".join(words[:length])
        if kind in calls:
            return _call(kind, words[length:], *calls[kind])
    return None


def _call(kind: str, words: list[str], least: int, most: int) -> ApiCall | None:
    if len(words) < least or (most != _MANY and len(words) > most):
        return None
    names = _REST_AFTER.get(kind, len(words))
    rest = (".".join(words[names:]),) if len(words) > names else ()
    return ApiCall(kind, (*words[:names], *rest))


def without_domain(subject: str, domain: str) -> str | None:
    """The subject within the domain's own API for ``$JS.<domain>.API...``; None if it is not that."""
    prefix = f"$JS.{domain}.API."
    if not domain or not subject.startswith(prefix):
        return None
    rest = subject[len(prefix) :]
    # Key-value and object buckets are views of streams with subjects of their own.
    if rest.startswith(("$KV.", "$OBJ.")):
        return rest
    return PREFIX + rest
