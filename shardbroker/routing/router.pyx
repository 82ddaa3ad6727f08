"""The way of a message from its publisher to its receivers.

publish() works in this order, because each step must be able to say no before the next has an effect:

1. find the route (route_cache): local plain subscriptions, remote mask, queue groups;
2. choose one member of each queue group over all workers, weighted by their counts;
3. if other workers are concerned, claim ring space and write the frame: full means BACK_PRESSURED, and the
   publisher's input stays where it is;
4. deliver to local outboxes.

on_frame() is the other end: a frame from another worker's ring goes to the local subscriptions. It never
waits and never writes to a socket.

Nothing here makes a Python object per message.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from shardbroker.digits cimport SIZE_LINE_MAX, write_size_line
from shardbroker.routing.delivery_target cimport (
    SUBSCRIPTION_REMOVED,
    DeliveryTarget,
    Subscription,
    subscription_sid,
)
from shardbroker.routing.outbox cimport outbox_reserve
from shardbroker.routing.overflow cimport Overflow
from shardbroker.routing.route_cache cimport RemoteMembers, Route, RouteCache, RouteGroup
from shardbroker.shm.atomics cimport load_relaxed_u64, store_relaxed_u64
from shardbroker.shm.frame cimport (
    FLAG_CHUNKED,
    FLAG_FIRST,
    FLAG_REDIRECTED,
    KIND_CHUNK,
    KIND_MESSAGE,
    FrameHandler,
    FrameHeader,
    QueuePick,
)
from shardbroker.shm.offsets cimport PRESSURE_CELLS, WORKERS_MAX
from shardbroker.shm.ring cimport Outbound

cdef enum:
    # How long one delivery to a congested subscriber pauses its publisher. Short, because it is renewed
    # while the congestion lasts and nothing but time ends it early.
    PAUSE_NS = 2_000_000
    # A subscriber that took less than this in a window of this length is not worth waiting for: it fills
    # its outbox and meets the slow-consumer rule, and its publishers lose one window a second at most.
    PROGRESS_WINDOW_NS = 10_000_000
    PROGRESS_SIZE = 65536
    PATIENCE_NS = 1_000_000_000
    # Queue groups of other workers that one message reaches at most: a frame must fit any ring.
    PICKS_MAX = 1024
    # In a wide fan-out output is written once per this many receivers: their few chunks are used again and
    # stay in the cache, instead of one chunk for each of thousands.
    WIDE_MASK = 255


cdef extern from *:
    const uint64_t RANDOM_STEP "UINT64_C(0x2545F4914F6CDD1D)"


cdef inline void copy_small(uint8_t *target, const uint8_t *source, uint64_t size) noexcept nogil:
    """memcpy for short strings of unknown size: overlapping words instead of a call."""
    cdef uint64_t first, second
    cdef uint32_t left, right
    if size > 16:
        memcpy(target, source, size)
    elif size >= 8:
        memcpy(&first, source, 8)
        memcpy(&second, source + size - 8, 8)
        memcpy(target, &first, 8)
        memcpy(target + size - 8, &second, 8)
    elif size >= 4:
        memcpy(&left, source, 4)
        memcpy(&right, source + size - 4, 4)
        memcpy(target, &left, 4)
        memcpy(target + size - 4, &right, 4)
    else:
        if size > 0:
            target[0] = source[0]
        if size > 1:
            target[1] = source[1]
        if size > 2:
            target[2] = source[2]


cdef class RouterOwner:
    """What the router asks of the process around it."""

    cdef void on_exhausted(self, Subscription *subscription) noexcept:
        """The subscription has delivered its last message (UNSUB max)."""

    cdef void on_output_due(self) noexcept:
        """Much output has piled up in the middle of a round: write it."""

    cdef void on_traced(self, DeliveryTarget *target, const uint8_t *line, uint64_t size) noexcept:
        """A message went into an outbox; `line` begins with its control line."""

    cdef bint on_service(
        self, Subscription *subscription, PublishView *view, DeliveryTarget *publisher
    ) noexcept:
        """A message for a target of the owner's own (a stream, the JetStream API); whether it was taken."""
        return False


cdef class Router(FrameHandler):
    """Delivers messages of local publishers everywhere and of other workers' publishers here."""

    def __cinit__(
        self,
        RouteCache routes,
        Outbound outbound,
        Overflow overflow,
        uint64_t statistics_address,
        uint64_t pressure_address,
        uint64_t seed,
        int worker_index,
        uint64_t message_size_max,
        bint stall_allowed,
    ):
        self.routes = routes
        self.outbound = outbound
        self.overflow = overflow
        self.statistics = <Statistics *> statistics_address
        self.pressure = <uint64_t *> pressure_address
        self.seed = seed
        self.random_state = (seed + RANDOM_STEP * <uint64_t> (worker_index + 1)) | 1
        self.worker_index = worker_index
        self.stall_allowed = stall_allowed
        self.reassembly_max = message_size_max
        self.chunk_size = min(outbound.size >> 3, <uint64_t> 131072)
        self.pick_capacity = 16
        self.picks = <QueuePick *> calloc(self.pick_capacity, sizeof(QueuePick))
        self.chosen = <Subscription **> calloc(self.pick_capacity, sizeof(Subscription *))
        if self.picks == NULL or self.chosen == NULL:
            raise MemoryError("no memory for queue picks")

    def __dealloc__(self):
        cdef int worker
        free(self.picks)
        free(self.chosen)
        for worker in range(WORKERS_MAX):
            free(self.reassembly[worker].data)

    def set_owner(self, RouterOwner owner):
        """Who is told of exhausted subscriptions and of much output."""
        self.owner = owner

    def set_gap(self, Gap gap):
        """Messages on these subjects wait with their publishers; None: none do."""
        self.gap = gap

    cdef uint64_t random(self) noexcept:
        """xorshift64*: fair enough to choose queue members, and cheap."""
        cdef uint64_t state = self.random_state
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        self.random_state = state
        return (state * RANDOM_STEP) >> 16

    # --- publishing -------------------------------------------------------------------------------------

    cdef int publish(self, PublishView *view, DeliveryTarget *publisher) noexcept:
        """Deliver one message of a local client; PUBLISHED, PUBLISHED_NONE or BACK_PRESSURED."""
        cdef Route *route
        cdef uint64_t mask
        cdef uint32_t i
        cdef bint delivered = False
        cdef Subscription *subscription
        route = self.routes.find(view.account, view.subject, view.subject_size, &view.hash)
        if route == NULL:
            self.statistics.drops += 1
            return PUBLISHED_NONE
        if self.services_full and self.is_for_service(route):
            return BACK_PRESSURED
        if self.gap is not None and self.now_ns < self.gap.until_ns:
            if self.gap.covers(view.account, view.subject, view.subject_size):
                return BACK_PRESSURED
        mask = route.remote_mask
        self.pick_count = self.chosen_count = 0
        if route.group_count:
            self.choose_members(route, publisher, &mask)
        if mask:
            if self.write_frame(view, mask, 0, False) < 0:
                return BACK_PRESSURED
            delivered = True
        for i in range(route.plain_count):
            subscription = route.plain[i]
            if subscription.target == publisher and not publisher.echo:
                continue
            if self.deliver(subscription, view, publisher):
                delivered = True
            if i & WIDE_MASK == WIDE_MASK:
                self.owner.on_output_due()
        for i in range(self.chosen_count):
            if self.deliver(self.chosen[i], view, publisher):
                delivered = True
        if delivered:
            return PUBLISHED
        if view.reply_size and publisher.no_responders:
            self.no_responders(view, publisher)
        return PUBLISHED_NONE

    cdef int publish_own(self, PublishView *view) noexcept:
        """Deliver a message of this worker's own (an ack, an answer); PUBLISHED or PUBLISHED_NONE.

        Never waits: what finds no room in the ring goes into the overflow list.
        """
        view.shown_size = 0
        return self.publish_shown(view)

    cdef int publish_shown(self, PublishView *view) noexcept:
        """The same for a message that may show another subject than the one it is routed by."""
        cdef Route *route
        cdef uint64_t mask
        cdef uint32_t i
        cdef bint delivered = False
        view.hash = 0
        view.publisher = 0
        view.publisher_worker = -1
        route = self.routes.find(view.account, view.subject, view.subject_size, &view.hash)
        if route == NULL:
            self.statistics.drops += 1
            return PUBLISHED_NONE
        mask = route.remote_mask
        self.pick_count = self.chosen_count = 0
        if route.group_count:
            self.choose_members(route, NULL, &mask)
        if mask:
            if self.write_frame(view, mask, 0, True) < 0:
                self.statistics.drops += 1
            else:
                delivered = True
        for i in range(route.plain_count):
            if self.deliver(route.plain[i], view, NULL):
                delivered = True
        for i in range(self.chosen_count):
            if self.deliver(self.chosen[i], view, NULL):
                delivered = True
        return PUBLISHED if delivered else PUBLISHED_NONE

    cdef bint is_for_service(self, Route *route) noexcept:
        """Whether a service of this worker is among the receivers."""
        cdef uint32_t i
        for i in range(route.plain_count):
            if route.plain[i].target.service:
                return True
        return False

    cdef bint choose_members(self, Route *route, DeliveryTarget *publisher, uint64_t *mask) noexcept:
        """Choose one member of each group: into `chosen` when local, into `picks` and `mask` when remote."""
        cdef uint32_t i, k, local, total
        cdef uint64_t which
        cdef RouteGroup *group
        cdef Subscription *member
        cdef bint own_excluded = publisher != NULL and not publisher.echo
        if route.group_count > self.pick_capacity:
            self.picks = <QueuePick *> realloc(self.picks, route.group_count * sizeof(QueuePick))
            self.chosen = <Subscription **> realloc(self.chosen, route.group_count * sizeof(Subscription *))
            self.pick_capacity = route.group_count
        for i in range(route.group_count):
            group = &route.groups[i]
            local = 0
            for k in range(group.count):
                member = route.members[group.start + k]
                if member.flags & SUBSCRIPTION_REMOVED or member.target.closed:
                    continue
                if own_excluded and member.target == publisher:
                    continue
                local += 1
            total = local + group.remote_unlimited
            if total == 0:
                self.choose_remote(route, group, mask)
                continue
            which = self.random() % total
            if which >= local:
                self.choose_remote(route, group, mask)
                continue
            for k in range(group.count):
                member = route.members[group.start + k]
                if member.flags & SUBSCRIPTION_REMOVED or member.target.closed:
                    continue
                if own_excluded and member.target == publisher:
                    continue
                if which == 0:
                    self.chosen[self.chosen_count] = member
                    self.chosen_count += 1
                    break
                which -= 1
        return True

    cdef bint choose_remote(self, Route *route, RouteGroup *group, uint64_t *mask) noexcept:
        """Choose the worker of a group's member, by count; members with UNSUB max if there is no other."""
        cdef uint32_t i, weight, total = group.remote_unlimited
        cdef bint limited = total == 0
        cdef uint64_t which
        cdef RemoteMembers *members
        if limited:
            total = group.remote_limited
        if total == 0:
            return False
        if self.pick_count == PICKS_MAX:
            self.statistics.drops += 1
            return False
        which = self.random() % total
        for i in range(group.remote_count):
            members = &route.remotes[group.remote_start + i]
            weight = members.limited if limited else members.unlimited
            if which < weight:
                self.picks[self.pick_count].queue_hash = group.queue_hash
                self.picks[self.pick_count].worker = members.worker
                self.pick_count += 1
                mask[0] |= (<uint64_t> 1) << members.worker
                return True
            which -= weight
        return False

    # --- the own ring -----------------------------------------------------------------------------------

    cdef FrameHeader *claim_frame(self, uint64_t size, uint64_t mask, bint at_once) noexcept:
        """Room for a frame in the own ring, or with `at_once` in the overflow list; NULL when there is none.

        To be followed by commit_frame. While anything waits in the list, the ring may not be used.
        """
        cdef FrameHeader *frame = NULL
        if self.overflow.first == NULL:
            frame = self.outbound.claim(size)
        if frame == NULL and at_once:
            frame = self.overflow.claim(size, mask)
        return frame

    cdef void commit_frame(self, uint64_t size, uint64_t mask) noexcept:
        """The frame just claimed is written; one in the overflow list is committed when it is drained."""
        if self.overflow.first == NULL:
            self.outbound.commit(size, mask)

    cdef int write_frame(self, PublishView *view, uint64_t mask, uint8_t flags, bint at_once) noexcept:
        """Write the message with the present picks into the own ring; BACK_PRESSURED when it is full.

        `at_once`: what does not fit overflows, and only beyond the list's bound it is BACK_PRESSURED.
        """
        cdef uint64_t body = view.subject_size + 1 + view.tail_size
        cdef uint64_t picks_size = self.pick_count * sizeof(QueuePick)
        cdef uint64_t size = (sizeof(FrameHeader) + picks_size + body + 7) & ~(<uint64_t> 7)
        cdef FrameHeader *frame
        cdef uint8_t *text
        if body > self.chunk_size:
            return self.write_chunked(view, mask, flags, at_once)
        frame = self.claim_frame(size, mask, at_once)
        if frame == NULL:
            return BACK_PRESSURED
        frame.length = <uint32_t> size
        frame.body_size = <uint32_t> body
        self.fill_frame(frame, view, mask, flags)
        text = <uint8_t *> (frame + 1) + picks_size
        copy_small(text, view.subject, view.subject_size)
        text[view.subject_size] = 32
        memcpy(text + view.subject_size + 1, view.tail, view.tail_size)
        self.commit_frame(size, mask)
        self.statistics.ring_messages_out += 1
        self.statistics.ring_bytes_out += size
        return PUBLISHED

    cdef void fill_frame(self, FrameHeader *frame, PublishView *view, uint64_t mask, uint8_t flags) noexcept:
        """The header fields and picks of a message frame; not length and body_size."""
        frame.kind = KIND_MESSAGE
        frame.flags = flags
        frame.subject_size = view.subject_size
        frame.mask = mask
        frame.subject_hash = view.hash
        frame.account = view.account
        frame.publisher = view.publisher
        frame.reply_size = view.reply_size
        frame.pick_count = <uint16_t> self.pick_count
        frame.header_size = view.header_size
        frame.payload_size = view.payload_size
        frame.shown_size = view.shown_size
        if self.pick_count:
            memcpy(frame + 1, self.picks, self.pick_count * sizeof(QueuePick))

    cdef int write_chunked(self, PublishView *view, uint64_t mask, uint8_t flags, bint at_once) noexcept:
        """A message too large for one frame: pieces of its tail, then the message frame with the rest.

        The first piece must find ring space (or the message is BACK_PRESSURED) unless `at_once`; later ones
        may overflow, so that a message is never left half written.
        """
        cdef uint64_t done = 0, piece, size, fixed
        cdef uint64_t body
        cdef FrameHeader *frame
        cdef bint first = True
        while True:
            piece = view.tail_size - done
            body = piece
            fixed = sizeof(FrameHeader)
            if piece > self.chunk_size:
                piece = body = self.chunk_size
            else:
                body = view.subject_size + 1 + piece
                fixed += self.pick_count * sizeof(QueuePick)
            size = (fixed + body + 7) & ~(<uint64_t> 7)
            frame = self.claim_frame(size, mask, at_once or not first)
            if frame == NULL:
                if first:
                    return BACK_PRESSURED
                # Out of memory (the list's limit exceeds max_payload). The message is lost and counted;
                # receivers forget its pieces at the next FLAG_FIRST.
                self.statistics.drops += 1
                return PUBLISHED
            if done + piece < view.tail_size:
                memset(frame, 0, sizeof(FrameHeader))
                frame.kind = KIND_CHUNK
                frame.flags = FLAG_FIRST if first else 0
                frame.mask = mask
                memcpy(frame + 1, view.tail + done, piece)
            else:
                self.fill_frame(frame, view, mask, flags | FLAG_CHUNKED)
                memcpy(<uint8_t *> frame + fixed, view.subject, view.subject_size)
                (<uint8_t *> frame + fixed)[view.subject_size] = 32
                memcpy(<uint8_t *> frame + fixed + view.subject_size + 1, view.tail + done, piece)
            frame.length = <uint32_t> size
            frame.body_size = <uint32_t> body
            self.commit_frame(size, mask)
            first = False
            done += piece
            if done == view.tail_size:
                break
        self.statistics.ring_messages_out += 1
        self.statistics.ring_bytes_out += view.tail_size
        return PUBLISHED

    # --- frames from other workers ----------------------------------------------------------------------

    cdef void on_frame(self, int worker, const FrameHeader *frame, const uint8_t *body) noexcept:
        """Deliver a frame of another worker's ring to the clients here."""
        cdef PublishView view
        cdef Route *route
        cdef const QueuePick *picks
        cdef Reassembly *pieces = &self.reassembly[worker]
        cdef uint64_t tail_size, skipped
        cdef uint32_t i
        cdef uint8_t *grown
        if frame.kind != KIND_MESSAGE or frame.flags & FLAG_CHUNKED:
            if frame.flags & FLAG_FIRST:
                pieces.size = 0
            # A piece, or the last piece behind its subject.
            skipped = 0 if frame.kind == KIND_CHUNK else <uint64_t> frame.subject_size + 1
            if skipped > frame.body_size:
                self.statistics.drops += 1
                return
            tail_size = frame.body_size - skipped
            if pieces.size + tail_size > self.reassembly_max:
                self.statistics.drops += 1
                pieces.size = 0
                return
            if pieces.size + tail_size > pieces.capacity:
                grown = <uint8_t *> realloc(pieces.data, pieces.size + tail_size + 131072)
                if grown == NULL:
                    self.statistics.drops += 1
                    pieces.size = 0
                    return
                pieces.data = grown
                pieces.capacity = pieces.size + tail_size + 131072
            memcpy(pieces.data + pieces.size, body + skipped, tail_size)
            pieces.size += tail_size
            if frame.kind == KIND_CHUNK:
                return
            view.tail = pieces.data
            view.tail_size = pieces.size
        else:
            if <uint64_t> frame.subject_size + 1 > frame.body_size:
                self.statistics.drops += 1
                return
            view.tail = body + frame.subject_size + 1
            view.tail_size = <uint64_t> frame.body_size - frame.subject_size - 1
        view.subject = body
        view.subject_size = frame.subject_size
        view.shown_size = frame.shown_size
        view.reply = view.tail
        if view.shown_size:
            view.reply += view.shown_size + 1
        view.reply_size = frame.reply_size
        view.payload_size = frame.payload_size
        view.header_size = frame.header_size
        view.account = frame.account
        view.hash = frame.subject_hash
        view.publisher = frame.publisher
        # Of a redirected frame the publisher is not known any more: nobody is paused for it.
        view.publisher_worker = -1 if frame.flags & FLAG_REDIRECTED else worker
        # What another process wrote is checked before it is used as a size.
        if (
            view.subject_size == 0
            or <uint64_t> view.payload_size + 3 + view.reply_size + view.shown_size > view.tail_size
            or view.header_size > <int64_t> view.payload_size
        ):
            self.statistics.drops += 1
        else:
            view.payload = view.tail + (view.tail_size - 2 - view.payload_size)
            self.statistics.ring_messages_in += 1
            route = self.routes.find(view.account, view.subject, view.subject_size, &view.hash)
            if route == NULL:
                self.statistics.drops += 1
            else:
                # A redirected frame is for one queue group: the plain subscribers here had the original.
                if not frame.flags & FLAG_REDIRECTED:
                    for i in range(route.plain_count):
                        self.deliver(route.plain[i], &view, NULL)
                        if i & WIDE_MASK == WIDE_MASK:
                            self.owner.on_output_due()
                if frame.pick_count:
                    picks = <const QueuePick *> (frame + 1)
                    for i in range(frame.pick_count):
                        if <int> picks[i].worker == self.worker_index:
                            if not self.deliver_pick(route, &view, picks[i].queue_hash):
                                self.redirect(&view, picks[i].queue_hash, frame.flags)
                                # redirect may have rebuilt routes: look ours up again
                                route = self.routes.find(
                                    view.account, view.subject, view.subject_size, &view.hash
                                )
                                if route == NULL:
                                    break
        if frame.flags & FLAG_CHUNKED:
            pieces.size = 0
            if pieces.capacity > 4 << 20:
                free(pieces.data)
                pieces.data = NULL
                pieces.capacity = 0

    cdef void on_batch_end(self) noexcept:
        """A full ring of small messages to a thousand local subscribers would be half a gigabyte."""
        if self.output_size > self.flush_at_size:
            self.owner.on_output_due()

    cdef bint deliver_pick(self, Route *route, PublishView *view, uint64_t queue_hash) noexcept:
        """Give the message to one local member of a group; False when there is none."""
        cdef uint32_t i, k, start
        cdef RouteGroup *group
        for i in range(route.group_count):
            group = &route.groups[i]
            if group.queue_hash != queue_hash or group.queue_id == 0:
                continue
            if group.count:
                start = <uint32_t> (self.random() % group.count)
                for k in range(group.count):
                    if self.deliver(route.members[group.start + (start + k) % group.count], view, NULL):
                        return True
            # A lingering member takes what was on its way when it left (session.pyx).
            for k in range(group.lingering):
                if self.deliver(route.members[group.start + group.count + k], view, NULL):
                    return True
        return False

    cdef void redirect(self, PublishView *view, uint64_t queue_hash, uint8_t flags) noexcept:
        """The chosen member is gone: give the message to another worker's member, once."""
        cdef Route *route
        cdef RouteGroup *group
        cdef uint64_t mask = 0
        cdef uint32_t i
        if flags & FLAG_REDIRECTED:
            self.statistics.drops += 1
            return
        route = self.routes.find(view.account, view.subject, view.subject_size, &view.hash)
        self.pick_count = 0
        if route != NULL:
            for i in range(route.group_count):
                group = &route.groups[i]
                if group.queue_hash == queue_hash:
                    self.choose_remote(route, group, &mask)
                    break
        if mask == 0:
            self.statistics.drops += 1
            return
        # Draining may not wait for the ring: what does not fit goes into the overflow list.
        if self.write_frame(view, mask, FLAG_REDIRECTED, True) == PUBLISHED:
            self.statistics.redirects += 1
        else:
            self.statistics.drops += 1

    cdef void forget_producer(self, int worker) noexcept:
        """A worker died: drop the pieces of a message it did not finish."""
        self.reassembly[worker].size = 0

    # --- delivery to a local client ---------------------------------------------------------------------

    cdef bint deliver(
        self, Subscription *subscription, PublishView *view, DeliveryTarget *publisher
    ) noexcept:
        """Append the message to the subscriber's outbox; False when it cannot take it any more."""
        cdef DeliveryTarget *target = subscription.target
        cdef uint64_t need, sid_size = subscription.sid_size, tail_size = view.tail_size
        cdef const uint8_t *subject = view.subject
        cdef const uint8_t *tail = view.tail
        cdef uint32_t subject_size = view.subject_size
        cdef uint8_t *place
        cdef uint8_t *start
        if target.closed or target.overflowed or subscription.flags & SUBSCRIPTION_REMOVED:
            return False
        if target.service:
            return self.owner.on_service(subscription, view, publisher)
        if subscription.max_messages and subscription.delivered >= subscription.max_messages:
            return False
        if view.header_size >= 0 and not target.headers:
            self.deliver_stripped(subscription, view)
        else:
            need = 6 + view.subject_size + sid_size + view.tail_size
            if view.header_size >= 0:
                need += 1
            if view.shown_size:
                subject, subject_size = view.tail, view.shown_size
                need -= view.subject_size + 1
                tail += subject_size + 1
                tail_size -= subject_size + 1
            place = outbox_reserve(&target.outbox, target.pool, need)
            if place == NULL:
                target.overflowed = 1
                self.mark_dirty(target)
                return False
            start = place
            if view.header_size >= 0:
                place[0] = 72  # H
                place += 1
            memcpy(place, b"MSG ", 4)
            place += 4
            copy_small(place, subject, subject_size)
            place += subject_size
            place[0] = 32
            place += 1
            copy_small(place, subscription_sid(subscription), sid_size)
            place += sid_size
            place[0] = 32
            memcpy(place + 1, tail, tail_size)
            self.output_size += need + 64
            if self.tracing:
                self.owner.on_traced(target, start, need)
        subscription.delivered += 1
        target.row.out_msgs += 1
        target.row.out_bytes += view.payload_size
        self.statistics.out_msgs += 1
        self.statistics.out_bytes += view.payload_size
        if not target.dirty:
            self.mark_dirty(target)
        if target.outbox.size > target.congested_above:
            self.congested(target, view, publisher)
        if subscription.max_messages and subscription.delivered >= subscription.max_messages:
            self.owner.on_exhausted(subscription)
        return True

    cdef void deliver_stripped(self, Subscription *subscription, PublishView *view) noexcept:
        """MSG without the header block, for a client that did not ask for headers."""
        cdef DeliveryTarget *target = subscription.target
        cdef uint8_t[SIZE_LINE_MAX] digits
        cdef uint64_t payload = view.payload_size - view.header_size
        cdef uint64_t digits_size = write_size_line(digits, 0, <uint32_t> payload) - digits
        cdef const uint8_t *subject = view.tail if view.shown_size else view.subject
        cdef uint32_t subject_size = view.shown_size if view.shown_size else view.subject_size
        cdef uint64_t need = 6 + subject_size + subscription.sid_size + digits_size + payload + 2
        cdef uint8_t *place
        if view.reply_size:
            need += view.reply_size + 1
        self.output_size += need + 64
        place = outbox_reserve(&target.outbox, target.pool, need)
        if place == NULL:
            target.overflowed = 1
            return
        memcpy(place, b"MSG ", 4)
        place += 4
        memcpy(place, subject, subject_size)
        place += subject_size
        place[0] = 32
        memcpy(place + 1, subscription_sid(subscription), subscription.sid_size)
        place += 1 + subscription.sid_size
        place[0] = 32
        place += 1
        if view.reply_size:
            memcpy(place, view.reply, view.reply_size)
            place += view.reply_size
            place[0] = 32
            place += 1
        memcpy(place, digits, digits_size)
        memcpy(place + digits_size, view.payload + view.header_size, payload + 2)

    cdef void append(self, DeliveryTarget *target, const uint8_t *data, uint64_t size) noexcept:
        """Append protocol text (PONG, +OK, INFO, -ERR) to a client's outbox."""
        cdef uint8_t *place
        if target.closed:
            return
        place = outbox_reserve(&target.outbox, target.pool, size)
        if place == NULL:
            target.overflowed = 1
        else:
            memcpy(place, data, size)
        if not target.dirty:
            self.mark_dirty(target)

    cdef void mark_dirty(self, DeliveryTarget *target) noexcept:
        """Put the target into the chain that is flushed at the end of the turn."""
        if target.dirty:
            return
        target.dirty = 1
        target.next_dirty = self.dirty
        self.dirty = target

    cdef void congested(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept:
        """The subscriber reads slower than it is fed: pause the publisher for a moment, if that can help.

        It helps only a subscriber that does read. One that took next to nothing in the last window loses
        the right to stall anybody for a second (RELIABILITY D3: it must not cost others more).
        """
        cdef uint64_t until
        cdef uint64_t *cell
        if target.outbox.size > target.pending_max:
            target.overflowed = 1
            return
        if not self.stall_allowed:
            return
        if self.now_ns - target.window_start_ns > PROGRESS_WINDOW_NS:
            if target.may_stall or self.now_ns - target.window_start_ns > PATIENCE_NS:
                # The very first window is granted: sent_size of the time before says nothing.
                target.may_stall = (
                    target.sent_size - target.window_sent_size >= PROGRESS_SIZE
                    or self.now_ns - target.window_start_ns > PATIENCE_NS
                )
                target.window_start_ns = self.now_ns
                target.window_sent_size = target.sent_size
        if not target.may_stall:
            return
        until = self.now_ns + PAUSE_NS
        if publisher != NULL:
            if publisher != target and publisher.pause_until_ns < until:
                publisher.pause_until_ns = until
        elif view.publisher_worker >= 0 or view.publisher == 0:  # 0: a service of this worker
            cell = self.pressure + (
                view.publisher_worker if view.publisher_worker >= 0 else self.worker_index
            ) * PRESSURE_CELLS
            cell += view.publisher & (PRESSURE_CELLS - 1)
            if load_relaxed_u64(cell) < until:
                store_relaxed_u64(cell, until)

    # --- no responders ----------------------------------------------------------------------------------

    cdef void no_responders(self, PublishView *view, DeliveryTarget *publisher) noexcept:
        """Nobody took a request: answer 503 on the publisher's own plain subscription to the reply subject.

        ADR-4 and nats-server 2.15: the header block names the subject, 32 + len(subject) bytes in all; the
        answer counts neither for an UNSUB max nor as a delivered message.
        """
        cdef Route *route
        cdef Subscription *subscription = NULL
        cdef uint64_t hash = 0, need
        cdef uint8_t[64] sizes
        cdef uint64_t sizes_size
        cdef uint8_t *place
        cdef uint32_t i
        route = self.routes.find(view.account, view.reply, view.reply_size, &hash)
        if route == NULL:
            return
        for i in range(route.plain_count):
            if route.plain[i].target == publisher:
                subscription = route.plain[i]
                break
        if subscription == NULL:
            return
        i = 32 + view.subject_size
        sizes_size = write_size_line(sizes, i, i) - sizes
        memcpy(sizes + sizes_size, b"NATS/1.0 503\r\nNats-Subject: ", 28)
        sizes_size += 28
        need = 5 + view.reply_size + 1 + subscription.sid_size + 1 + sizes_size + view.subject_size + 6
        place = outbox_reserve(&publisher.outbox, publisher.pool, need)
        if place == NULL:
            publisher.overflowed = 1
            self.mark_dirty(publisher)
            return
        memcpy(place, b"HMSG ", 5)
        place += 5
        memcpy(place, view.reply, view.reply_size)
        place += view.reply_size
        place[0] = 32
        memcpy(place + 1, subscription_sid(subscription), subscription.sid_size)
        place += 1 + subscription.sid_size
        place[0] = 32
        memcpy(place + 1, sizes, sizes_size)
        place += 1 + sizes_size
        memcpy(place, view.subject, view.subject_size)
        memcpy(place + view.subject_size, b"\r\n\r\n\r\n", 6)
        self.mark_dirty(publisher)
        self.statistics.no_responders += 1
