"""Protocol traces (``-V``) in nats-server's form: ``<<-`` what came from a client, ``->>`` what goes to it.

Off by default, and then it costs one test of a flag an operation. Secrets of CONNECT never reach the log, and
control characters are escaped, so that a client cannot write lines of its own into it.
"""

import re

from shardbroker.log import Log

_SECRETS = re.compile(rb'("(?:pass|auth_token|jwt|sig|nkey)"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)

#: Bytes of one traced payload or line; the rest is told as "...".
_SIZE_MAX = 1024


class Tracer:
    """Writes traces of one worker's clients."""

    def __init__(self, log: Log):
        self._log = log

    def incoming(self, client: str, operation: bytes) -> None:
        """An operation without its payload, as the client sent it."""
        shown = self._text(_SECRETS.sub(rb'\1"[REDACTED]"', operation))
        self._log.trace(f"{client} - <<- [{shown}]")

    def payload(self, client: str, payload: bytes) -> None:
        """The payload of a PUB or HPUB."""
        self._log.trace(f'{client} - <<- MSG_PAYLOAD: ["{self._text(payload)}"]')

    def outgoing(self, client: str, text: bytes) -> None:
        """A line to the client; a leading + as in +OK is left out, as nats-server does."""
        line = text.rstrip(b"\r\n")
        self._log.trace(f"{client} - ->> [{self._text(line.removeprefix(b'+'))}]")

    @staticmethod
    def _text(raw: bytes) -> str:
        cut = raw[:_SIZE_MAX].decode("utf-8", "backslashreplace")
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
        return text + ("..." if len(raw) > _SIZE_MAX else "")
