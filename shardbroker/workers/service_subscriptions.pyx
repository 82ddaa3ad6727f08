"""The subscriptions of a worker's services: subjects of streams, of the API, and of single callables.

They stand in the same matcher and the same interest directory as those of clients, so the other workers find
them the same way. Their targets are no clients: what comes for them is given to Services.take.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shardbroker.hashing cimport hash_bytes
from shardbroker.routing.delivery_target cimport DeliveryTarget, Subscription, subscription_queue
from shardbroker.subjects.sublist cimport Sublist
from shardbroker.workers.client cimport subscription_new
from shardbroker.workers.hosted cimport SERVICE_API, SERVICE_CALL, SERVICE_STREAM, Hosted


cdef class ServiceSubscriptions(ServiceOutput):
    """Subscribes and unsubscribes; a number names each subscription."""

    def subscribe(
        self, hosted, int kind, bytes subject, uint32_t account=0, uint32_t index=0, bytes queue=b""
    ):
        """Let messages for `subject` come to a stream (`hosted`), or to the API or a call when it is None.

        With `queue` one member of that group gets each message, over all workers.
        Gives a number for unsubscribe_number(). Raises MemoryError.
        """
        cdef DeliveryTarget *target
        cdef Hosted owner
        if hosted is not None:
            owner = hosted
            target = owner.target if kind == SERVICE_STREAM else owner.direct_target
            account = owner.account
        elif kind == SERVICE_API:
            target = self.api_target
        else:
            target = <DeliveryTarget *> <size_t> self.call_targets[index]
        number = self.subscribe_target(<size_t> target, subject, account, queue)
        if hosted is not None:
            hosted.subscriptions[kind, subject] = number
        return number

    def subscribe_target(self, size_t address, bytes subject, uint32_t account, bytes queue=b""):
        """The same for a DeliveryTarget by its address, which outlives the subscription by a turn."""
        cdef DeliveryTarget *target = <DeliveryTarget *> address
        cdef Subscription *subscription
        cdef Sublist sublist
        cdef uint64_t queue_hash = 0
        subscription = subscription_new(
            subject, <uint32_t> len(subject), queue, <uint32_t> len(queue), b"1", 1
        )
        if subscription == NULL:
            raise MemoryError("no memory for a subscription")
        subscription.target = target
        if queue:
            subscription.queue_id = hash_bytes(queue, <uint32_t> len(queue), self.session.seed) | 1
            queue_hash = self.session.directory.queue_hash_of(queue, <uint32_t> len(queue))
        sublist = self.session.routes.sublist(account)
        try:
            sublist.insert(subject, <uint32_t> len(subject), subscription.queue_id, &subscription.item)
            self.session.directory.change(account, subject, <uint32_t> len(subject), queue_hash, False, 1)
        except MemoryError:
            free(subscription)
            raise
        self.session.routes.next_epoch()
        number = self.next_number
        self.next_number += 1
        self.numbered[number] = <size_t> subscription
        return number

    def unsubscribe(self, Hosted hosted, int kind, bytes subject):
        """End a subscription of a stream."""
        self.unsubscribe_number(hosted.subscriptions.pop((kind, subject)))

    def unsubscribe_number(self, number):
        """End a subscription by its number."""
        cdef Subscription *subscription = <Subscription *> <size_t> self.numbered.pop(number)
        cdef uint8_t *subject = <uint8_t *> (subscription + 1)
        cdef uint64_t queue_hash = 0
        if subscription.queue_id:
            queue_hash = self.session.directory.queue_hash_of(
                subscription_queue(subscription), subscription.queue_size
            )
        self.session.directory.change(
            subscription.target.account, subject, subscription.subject_size, queue_hash, False, -1
        )
        self.session.retire(subscription)
        self.session.routes.generation += 1
        self.session.routes.next_epoch()

    def unsubscribe_all(self, Hosted hosted):
        """No more messages for this stream."""
        for kind, subject in list(hosted.subscriptions):
            self.unsubscribe(hosted, kind, subject)

    def new_call_target(self, uint32_t account, call):
        """A receiver that is a Python callable(account, subject, reply, block, payload, cid); its index."""
        cdef DeliveryTarget *target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if target == NULL:
            raise MemoryError("no memory for a target")
        index = self.next_number
        self.next_number += 1
        target.account = account
        target.service = SERVICE_CALL
        target.service_index = index
        self.call_targets[index] = <size_t> target
        self.targets[index] = call
        return index

    def end_call_target(self, index):
        """Forget a callable whose subscriptions are ended. Routes of this turn may still point at it."""
        self.targets.pop(index, None)
        self.ended_targets.append(self.call_targets.pop(index))

    cdef void free_ended_targets(self) noexcept:
        """Free those that ended before the call before this one; to be called every tick."""
        for address in self.old_targets:
            free(<void *> <size_t> address)
        self.old_targets, self.ended_targets = self.ended_targets, []
