"""The consumers of one stream by name, and which of them want the same messages.

What `consumer_checks.py` asks about the others: a work queue gives each message to one consumer, so their
filters may not overlap (errors 10099, 10100). Filters of all consumers are in one trie, so that the
thousandth consumer is checked as fast as the second.
"""

from collections.abc import Iterable, Iterator

from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.subject_trie import SubjectTrie


class ConsumerIndex:
    """Configurations by the consumers' names."""

    def __init__(self) -> None:
        self._configs: dict[str, ConsumerConfig] = {}
        self._filters = SubjectTrie()
        self._unfiltered: set[str] = set()
        self._sourcing = 0

    def __len__(self) -> int:
        return len(self._configs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._configs)

    def put(self, name: str, config: ConsumerConfig) -> None:
        """A consumer was made or has another configuration. ``config`` is not changed afterwards."""
        self.drop(name)
        self._configs[name] = config
        self._sourcing += config.sourcing
        if config.direct or config.sourcing:
            return  # these only read along and compete with nobody
        filters = config.filters()
        if not filters:
            self._unfiltered.add(name)
        for subject in filters:
            self._filters.add(subject, name)

    def drop(self, name: str) -> None:
        """A consumer is gone, if it was there."""
        config = self._configs.pop(name, None)
        if config is None:
            return
        self._sourcing -= config.sourcing
        self._unfiltered.discard(name)
        if not config.direct and not config.sourcing:
            for subject in config.filters():
                self._filters.remove(subject, name)

    def config_of(self, name: str) -> ConsumerConfig | None:
        """The configuration as it was accepted; None if there is no such consumer."""
        return self._configs.get(name)

    def limited_count(self) -> int:
        """How many consumers count for the limits: all but those that feed another stream."""
        return len(self._configs) - self._sourcing

    def is_wanted_by_others(self, filters: Iterable[str], except_name: str) -> bool:
        """Whether another consumer than ``except_name`` wants a message that one of ``filters`` matches."""
        others_take_all = bool(self._unfiltered - {except_name})
        return any(
            others_take_all or any(name != except_name for _, name in self._filters.overlaps(subject))
            for subject in filters
        )
