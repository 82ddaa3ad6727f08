"""The subscriptions of a worker's clients, for /connz?subs and /subsz.

Rows are made only up to the limit asked for, and filters run here in C: the answer for a million
subscriptions must not hold the event loop for a second.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport Subscription, subscription_subject
from shardbroker.subjects.subject cimport matches
from shardbroker.workers.client cimport Client
from shardbroker.workers.connections cimport Connections


def list_subscriptions(Connections connections, cids, account, bytes test, uint32_t limit):
    """How many subscriptions there are, and (cid, account, subject, queue, sid, delivered, max) of the
    first `limit`. `cids`, `account` (None: all) and `test` (a literal subject, b"": all) choose."""
    cdef Client *client = connections.open_first
    cdef Subscription *subscription
    cdef uint32_t i
    cdef uint64_t total = 0
    rows = []
    while client != NULL:
        chosen = cids is None or client.target.cid in cids
        if chosen and (account is None or client.target.account == account):
            for i in range(client.sid_capacity):
                if <size_t> client.sids[i] <= 1:
                    continue
                subscription = client.sids[i]
                if test and not matches(
                    subscription_subject(subscription), subscription.subject_size, test, len(test)
                ):
                    continue
                total += 1
                if len(rows) < limit:
                    rows.append(describe(client, i))
        client = client.next_open
    return total, rows


cdef tuple describe(Client *client, uint32_t slot):
    """One subscription for the monitoring pages."""
    cdef const uint8_t *text = <const uint8_t *> (client.sids[slot] + 1)
    cdef uint32_t subject = client.sids[slot].subject_size
    cdef uint32_t queue = client.sids[slot].queue_size
    cdef uint32_t sid = client.sids[slot].sid_size
    return (
        client.target.cid,
        client.target.account,
        text[:subject].decode("utf-8", "replace"),
        text[subject : subject + queue].decode("utf-8", "replace"),
        text[subject + queue : subject + queue + sid].decode("utf-8", "replace"),
        client.sids[slot].delivered,
        client.sids[slot].max_messages,
    )
