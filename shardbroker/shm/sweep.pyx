"""What the acceptor does to the shared interest filter and the versions when a worker has died.

Workers set bits and raise versions at the same time, so every change here is one atomic operation: a plain
read-modify-write from Python could undo a bit that a living worker has just set, and that worker would
miss messages. The loops run over ranges the caller found written (the filter is sparse), because even
loading from a hole of a mapped segment allocates its page.
"""

from libc.stdint cimport uint64_t

from shardbroker.shm.atomics cimport fetch_add_u64, fetch_and_u64, load_acquire_u64


def clear_bit(uint64_t[::1] words, int bit):
    """Clear ``bit`` in all ``words``; the number of words that had it."""
    cdef Py_ssize_t i
    cdef uint64_t mask = (<uint64_t> 1) << bit
    cdef Py_ssize_t cleared = 0
    assert 0 <= bit < 64

    with nogil:
        for i in range(words.shape[0]):
            if load_acquire_u64(&words[i]) & mask:
                fetch_and_u64(&words[i], ~mask)
                cleared += 1

    return cleared


def raise_versions(uint64_t[::1] versions):
    """Add one to each version: every cached route is worked out anew."""
    cdef Py_ssize_t i

    with nogil:
        for i in range(versions.shape[0]):
            fetch_add_u64(&versions[i], 1)
