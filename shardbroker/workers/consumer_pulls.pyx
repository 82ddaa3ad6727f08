"""Pull requests: they come in, are served one message each in turn, and end with a status or in silence.

The order of service is WaitingPulls' matter; here are messages, statuses and interest. A request that comes
in is only queued: messages and statuses leave at the end of the turn. Whoever does not listen any more is
found when there is something for him, and four times a second. Rules and texts: spec page 04, sections 7 and
8.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.jetstream.consumer cimport AT_THE_END, COUNTING, PAUSED, SEARCHING, Delivery
from shardbroker.jetstream.consumer_next cimport NextWish, read_next_wish
from shardbroker.jetstream.waiting_pulls cimport (
    END_BATCH_COMPLETED,
    END_NO_MESSAGES,
    END_NONE,
    END_TIMEOUT,
    END_TOO_LARGE,
    END_WRONG_PIN,
    LOWEST_PRIORITY,
    PULL_ADDED,
    PULL_EXCEEDS_WAITING,
    PULL_NO_MESSAGES,
    PULL_REQUESTS_PENDING,
    Pull,
)
from shardbroker.storage.frame cimport RecordHead
from shardbroker.workers.hosted_consumer cimport HostedConsumer

from shardbroker.jetstream import consumer_statuses
from shardbroker.jetstream.api_requests import is_level_too_high
from shardbroker.jetstream.consumer_next import read_next
from shardbroker.jetstream.consumer_requests import PullRefused, check_next
from shardbroker.jetstream.header_block import get as header_of

cdef enum:
    SLICE_MESSAGES = 512  # that one consumer sends before others have their turn
    SLICE_BYTES = 512 << 10

cdef dict ADD_BLOCKS = {
    <int> PULL_EXCEEDS_WAITING: consumer_statuses.EXCEEDED_MAX_WAITING,
    <int> PULL_NO_MESSAGES: consumer_statuses.NO_MESSAGES,
    <int> PULL_REQUESTS_PENDING: consumer_statuses.REQUESTS_PENDING,
}
cdef dict END_STATUSES = {
    <int> END_TIMEOUT: consumer_statuses.REQUEST_TIMEOUT,
    <int> END_TOO_LARGE: consumer_statuses.SIZE_EXCEEDS_MAX_BYTES,
    <int> END_BATCH_COMPLETED: consumer_statuses.BATCH_COMPLETED,
    <int> END_WRONG_PIN: consumer_statuses.WRONG_PIN_ID,
}


cdef class ConsumerPulls(ConsumerSends):
    """Whoever asks is served."""

    def __init__(self, host, log):
        super().__init__(host, log)
        self.refusals = []

    # --- coming in --------------------------------------------------------------------------------------

    cdef void take_request(
        self, HostedConsumer one, const uint8_t *reply, uint32_t reply_size, const uint8_t *headers,
        uint32_t header_size, const uint8_t *body, uint32_t size, uint64_t wall_ns,
    ) noexcept:
        """Let a request wait."""
        cdef NextWish wish
        cdef Pull pull
        cdef int answer
        if reply_size == 0:
            return
        one.active_ns = wall_ns
        if (
            header_size
            or not one.is_plain
            or not one.is_pull
            or not read_next_wish(body, size, &wish)
            or wish.expires < 0
        ):
            try:
                answer = self.take_slowly(
                    one,
                    reply[:reply_size],
                    headers[:header_size] if header_size else b"",
                    body[:size],
                    wall_ns,
                )
            except PullRefused as refused:
                one.pulls.refuse(refused.block, wall_ns)
                self.refusals.append((one.hosted.account, reply[:reply_size], refused.block))
                return
            except Exception as error:
                self.log.error(f"JetStream: a pull request failed: {type(error).__name__}: {error}")
                return
        else:
            memset(&pull, 0, sizeof(Pull))
            pull.reply = <uint8_t *> reply
            pull.reply_size = reply_size
            pull.account = one.hosted.account
            pull.batch = max(wish.batch, 1)
            pull.max_bytes = wish.max_bytes
            pull.expires_ns = wall_ns + <uint64_t> wish.expires if wish.expires else 0
            pull.heartbeat_ns = <uint64_t> wish.idle_heartbeat
            pull.no_wait = wish.no_wait
            pull.priority = LOWEST_PRIORITY
            answer = one.pulls.add(&pull, self.sendable(one), wall_ns)
        if answer != PULL_ADDED:
            self.refuse(one, reply, reply_size, answer)
        if one.pulls.ended:
            self.tell_ended(one)

    cdef object take_slowly(
        self, HostedConsumer one, bytes reply, bytes headers, bytes body, uint64_t wall_ns
    ):
        """An unusual request, or one to a consumer with limits or priority groups. Raises PullRefused."""
        if headers and is_level_too_high(header_of(headers, b"Nats-Required-Api-Level") or b""):
            raise PullRefused(consumer_statuses.REQUIRED_API_LEVEL)
        if not one.is_pull:
            raise PullRefused(consumer_statuses.PUSH_BASED)
        wish = read_next(body)
        block = check_next(wish, one.consumer.config, one.pulls.pinned.decode("latin-1"))
        if block is None and wish.expires < 0:  # it has expired before it came
            block = consumer_statuses.with_rest(consumer_statuses.REQUEST_TIMEOUT, 0, 0)
        if block is not None:
            raise PullRefused(block)
        wish.batch = max(wish.batch, 1)
        wish.max_bytes = max(wish.max_bytes, 0)
        wish.idle_heartbeat = max(wish.idle_heartbeat, 0)
        return one.pulls.put(reply, wish, self.sendable(one), wall_ns, account=one.hosted.account)

    cdef void refuse(
        self, HostedConsumer one, const uint8_t *reply, uint32_t reply_size, int answer
    ) noexcept:
        block = ADD_BLOCKS.get(answer)
        if block is not None:
            self.refusals.append((one.hosted.account, reply[:reply_size], block))

    cdef uint64_t sendable(self, HostedConsumer one) noexcept:
        """Messages that could be sent now; while they are not counted there may be any number."""
        if not one.consumer.is_counted:
            return (<uint64_t> 1) << 62
        return one.consumer.num_pending + one.consumer.pending.queued

    # --- being served -----------------------------------------------------------------------------------

    cdef bint serve(self, HostedConsumer one, uint64_t wall_ns) noexcept:
        """Send what there is to those who wait. True: there may be more, for the next turn."""
        cdef Delivery delivery
        cdef const RecordHead *record
        cdef Pull *pull
        cdef uint64_t size, sent = 0
        cdef int count = 0
        cdef bint more = False
        while one.pulls.count:
            if count >= SLICE_MESSAGES or sent >= SLICE_BYTES or self.host.router.overflow.first != NULL:
                more = True
                break
            if one.not_before_ns:
                if one.not_before_ns > wall_ns:
                    break
                one.not_before_ns = 0
            if not one.consumer.next_delivery(wall_ns, &delivery):
                more = one.consumer.standstill == COUNTING or one.consumer.standstill == SEARCHING
                # While acknowledgements are missing requests that would not wait do wait, as in nats-server.
                if one.consumer.standstill == AT_THE_END or one.consumer.standstill == PAUSED:
                    one.pulls.expire(wall_ns, True)
                break
            count += 1
            record = self.record_of(one.hosted, delivery.sequence)
            if record == NULL:
                if not self.is_cold and self.skip(one, &delivery, wall_ns):
                    continue
                self.host.soon = True
                more = True
                break
            if one.replays_original and self.waits_for_time(one, &delivery, record.time_ns, wall_ns):
                break
            size = self.write_ack_subject(one, &delivery, record)
            pull = one.pulls.take(
                <int64_t> size, <int64_t> (delivery.pending + (delivery.deliveries == 1)),
                one.consumer.pending.expected(), wall_ns,
            )
            if pull == NULL:
                break
            if self.send_message(
                one, record, pull.reply, pull.reply_size, pull.pin if one.pulls.pinned else NULL,
                pull.pin_size if one.pulls.pinned else 0,
            ) == 0:
                one.pulls.lost_interest(pull)
                continue
            one.consumer.mark_delivered(&delivery, wall_ns)
            one.active_ns = one.delivered_ns = wall_ns
            one.pulls.served(pull, wall_ns)
            sent += size
        if one.pulls.ended:
            self.tell_ended(one)
        return more

    cdef void tell_ended(self, HostedConsumer one) noexcept:
        """Statuses and heartbeats that are due."""
        for why, reply, account, messages, size in one.pulls.take_ended():
            if why == END_NONE:
                block = consumer_statuses.idle_heartbeat(
                    one.consumer.next_consumer_sequence - 1, one.consumer.delivered_stream
                )
            elif why == END_NO_MESSAGES:
                block = consumer_statuses.NO_MESSAGES
            elif why in END_STATUSES:
                block = consumer_statuses.with_rest(END_STATUSES[why], messages, size)
            else:
                continue
            self.refusals.append((account, reply, block))

    cdef bint waits_for_time(
        self, HostedConsumer one, const Delivery *delivery, uint64_t time_ns, uint64_t wall_ns
    ) noexcept:
        """replay_policy original: what was there when the consumer came keeps the gaps between messages."""
        if delivery.deliveries > 1:
            return False
        if delivery.sequence > one.replay_until:
            one.replays_original = False
            return False
        if one.replay_time_ns and time_ns > one.replay_time_ns:
            if wall_ns < one.delivered_ns + (time_ns - one.replay_time_ns):
                one.not_before_ns = one.delivered_ns + (time_ns - one.replay_time_ns)
                return True
        one.replay_time_ns = time_ns
        return False

    # --- waiting ----------------------------------------------------------------------------------------

    cdef void drop_unheard(self, HostedConsumer one) noexcept:
        """Requests to whose answers nobody listens any more end."""
        cdef Pull *pull = one.pulls.head
        cdef Pull *after
        while pull != NULL:
            after = pull.next
            if not self.host.has_interest(pull.account, pull.reply[: pull.reply_size]):
                one.pulls.lost_interest(pull)
            pull = after
        if one.pulls.ended:
            self.tell_ended(one)
