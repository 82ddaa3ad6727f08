"""All scripts, file by file."""

from tests.conformance.script import Script
from tests.conformance.scripts import (
    connect,
    headers,
    lexing,
    limits,
    matching,
    publish,
    queue_groups,
    replies,
    subscribe,
    timers,
)

ALL_SCRIPTS: list[Script] = [
    *lexing.SCRIPTS,
    *connect.SCRIPTS,
    *publish.SCRIPTS,
    *headers.SCRIPTS,
    *subscribe.SCRIPTS,
    *matching.SCRIPTS,
    *queue_groups.SCRIPTS,
    *replies.SCRIPTS,
    *limits.SCRIPTS,
    *timers.SCRIPTS,
]
