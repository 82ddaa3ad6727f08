"""What is stored of a stream besides its log: the body of a metadata slot, which storage/metadata.py frames.

The acceptor writes it when a stream is made or changed, and the owner when it reserves more sequences.
"""

from typing import Any


def stored_stream(entry: Any) -> dict:
    """The body. ``entry``: a stream as the catalog knows it, or as its owner does; both have these names."""
    return {
        "account": entry.account,
        "name": entry.name,
        "config": entry.config.to_json_dict(),
        "created": entry.created,
        "seed": entry.seed,
        "reserved": entry.reserved,  # sequences up to here may have been given out
    }
