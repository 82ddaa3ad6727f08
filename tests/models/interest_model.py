"""The obvious interest directory: who subscribed to what, in one list, asked by looking at all of it."""

from collections import Counter

from tests.models.sublist_model import pattern_matches

Key = tuple[int, int, bytes, int, bool]  # worker, account, pattern, queue hash (0: plain), limited

Groups = dict[int, dict[int, tuple[int, int]]]  # {queue hash: {worker: (unlimited, limited)}}


class InterestModel:
    """Twin of all workers' shm.interest_directory.InterestDirectory at once."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()
        self.down: set[int] = set()

    def change(self, key: Key, delta: int) -> None:
        """Add to the count of one pattern and queue in one worker."""
        self.counts[key] += delta
        assert self.counts[key] >= 0
        if self.counts[key] == 0:
            del self.counts[key]

    def lookup(self, asking: int, account: int, subject: bytes) -> tuple[int, Groups]:
        """(mask of workers with plain interest, groups), both without the asker."""
        mask = 0
        groups: Groups = {}
        for (worker, owner, pattern, queue_hash, limited), count in self.counts.items():
            if worker == asking or worker in self.down or owner != account:
                continue
            if not pattern_matches(pattern, subject):
                continue
            if queue_hash == 0:
                mask |= 1 << worker
                continue
            unlimited_count, limited_count = groups.setdefault(queue_hash, {}).get(worker, (0, 0))
            if limited:
                limited_count += count
            else:
                unlimited_count += count
            groups[queue_hash][worker] = (unlimited_count, limited_count)
        return mask, groups
