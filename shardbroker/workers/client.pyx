"""Memory of one client: the struct itself, its subscriptions by sid, its unparsed input. See client.pxd."""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

from shardbroker.hashing cimport hash_bytes
from shardbroker.routing.delivery_target cimport Subscription, subscription_sid

cdef enum:
    SIDS_INITIAL = 8

# Random per process: a client that knew it could choose sids that all fall into one slot.
cdef uint64_t SIDS_SEED = int.from_bytes(os.urandom(8), "little")



cdef Subscription *DELETED = <Subscription *> 1


cdef Client *client_new(int fd, uint64_t cid) noexcept:
    """A zeroed client of this socket; NULL when memory is exhausted."""
    cdef Client *client = <Client *> calloc(1, sizeof(Client))
    if client != NULL:
        client.fd = fd
        client.row_index = -1
        client.target.cid = cid
        client.target.echo = 1
        client.verbose = 1
        client.pedantic = 1
        client.careful = 1
        client.writable = 1
    return client


cdef void client_free(Client *client) noexcept:
    """Give back the client. Its subscriptions and outbox are gone already."""
    free(client.sids)
    free(client.input)
    free(client)


cdef Subscription *subscription_new(
    const uint8_t *subject, uint32_t subject_size,
    const uint8_t *queue, uint32_t queue_size,
    const uint8_t *sid, uint32_t sid_size,
) noexcept:
    """A zeroed subscription with copies of its three strings behind it; NULL when memory is exhausted."""
    cdef Subscription *subscription
    cdef uint8_t *text
    subscription = <Subscription *> malloc(sizeof(Subscription) + subject_size + queue_size + sid_size)
    if subscription == NULL:
        return NULL
    subscription.item.position = 0
    subscription.target = NULL
    subscription.queue_id = 0
    subscription.delivered = 0
    subscription.max_messages = 0
    subscription.next_removed = NULL
    subscription.flags = 0
    subscription.subject_size = subject_size
    subscription.queue_size = queue_size
    subscription.sid_size = sid_size
    text = <uint8_t *> (subscription + 1)
    memcpy(text, subject, subject_size)
    memcpy(text + subject_size, queue, queue_size)
    memcpy(text + subject_size + queue_size, sid, sid_size)
    return subscription


cdef inline bint same_sid(Subscription *subscription, const uint8_t *sid, uint32_t size) noexcept:
    return subscription.sid_size == size and memcmp(subscription_sid(subscription), sid, size) == 0


cdef Subscription *client_find(Client *client, const uint8_t *sid, uint32_t size) noexcept:
    """The client's subscription with this sid, or NULL."""
    cdef uint32_t at, mask = client.sid_capacity - 1
    if client.sid_count == 0:
        return NULL
    at = <uint32_t> hash_bytes(sid, size, SIDS_SEED) & mask
    while client.sids[at] != NULL:
        if client.sids[at] != DELETED and same_sid(client.sids[at], sid, size):
            return client.sids[at]
        at = (at + 1) & mask
    return NULL


cdef inline uint32_t first_slot(Subscription *subscription, uint32_t mask) noexcept:
    return <uint32_t> hash_bytes(subscription_sid(subscription), subscription.sid_size, SIDS_SEED) & mask


cdef void place(Subscription **sids, uint32_t mask, Subscription *subscription) noexcept:
    cdef uint32_t at = first_slot(subscription, mask)
    while sids[at] != NULL and sids[at] != DELETED:
        at = (at + 1) & mask
    sids[at] = subscription


cdef int client_add(Client *client, Subscription *subscription) noexcept:
    """Enter a subscription whose sid is not there yet; -1 when memory is exhausted."""
    cdef uint32_t capacity, i
    cdef Subscription **grown
    if (client.sid_count + client.sid_deleted + 1) * 2 > client.sid_capacity:
        # Also rewrites a table that is full of deleted slots, at the size that what lives needs.
        capacity = SIDS_INITIAL
        while capacity < (client.sid_count + 1) * 3:
            capacity *= 2
        grown = <Subscription **> calloc(capacity, sizeof(Subscription *))
        if grown == NULL:
            return -1
        for i in range(client.sid_capacity):
            if client.sids[i] != NULL and client.sids[i] != DELETED:
                place(grown, capacity - 1, client.sids[i])
        free(client.sids)
        client.sids = grown
        client.sid_capacity = capacity
        client.sid_deleted = 0
    place(client.sids, client.sid_capacity - 1, subscription)
    client.sid_count += 1
    return 0


cdef void client_remove(Client *client, Subscription *subscription) noexcept:
    """Take a subscription out of the table; the caller frees it."""
    cdef uint32_t mask = client.sid_capacity - 1
    cdef uint32_t at = first_slot(subscription, mask)
    while client.sids[at] != NULL:
        if client.sids[at] == subscription:
            client.sids[at] = DELETED
            client.sid_count -= 1
            client.sid_deleted += 1
            break
        at = (at + 1) & mask
    if client.sid_count == 0:
        free(client.sids)
        client.sids = NULL
        client.sid_capacity = 0
        client.sid_deleted = 0


cdef int client_keep_input(Client *client, const uint8_t *data, uint64_t size, uint64_t room) noexcept:
    """Keep unparsed bytes in the client's own buffer, with `room` bytes in all; -1 when memory is exhausted.

    `data` may lie inside the buffer itself.
    """
    cdef uint8_t *moved
    if size == 0:
        free(client.input)
        client.input = NULL
        client.input_size = client.input_capacity = 0
        return 0
    if room < size:
        room = size
    if client.input_capacity < room:
        moved = <uint8_t *> malloc(room)
        if moved == NULL:
            return -1
        memcpy(moved, data, size)
        free(client.input)
        client.input = moved
        client.input_capacity = <uint32_t> room
    else:
        memmove(client.input, data, size)
    client.input_size = <uint32_t> size
    return 0
