"""One consumer of this worker with what belongs to it: targets, pull requests that wait, state of a push."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.push_flow cimport PushFlow
from shardbroker.jetstream.waiting_pulls cimport WaitingPulls
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.workers.hosted cimport SERVICE_ACK, SERVICE_FLOW, SERVICE_NEXT, Hosted

from shardbroker.jetstream.ack_tokens import ack_prefix


cdef DeliveryTarget *new_target(uint32_t account, int service, uint32_t index) except NULL:
    cdef DeliveryTarget *target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
    if target == NULL:
        raise MemoryError("no memory for a consumer")
    target.account = account
    target.service = service
    target.service_index = index
    return target


cdef class HostedConsumer:
    """`index` is its place in ConsumerHost.consumers; `new_pin()` makes ids of pinned clients.

    A rate limit lets `burst_size` bytes pass at once.
    """

    def __init__(
        self, Consumer consumer not None, Hosted hosted not None, uint32_t index, now_ns, new_pin, burst_size
    ):
        config = consumer.config
        self.consumer = consumer
        self.hosted = hosted
        self.name = consumer.name
        self.index = index
        self.numbers = []
        self.dead_replies = {}
        self.active_ns = now_ns
        self.ack_prefix = ack_prefix(hosted.stream.config.name, consumer.name)
        self.next_target = new_target(hosted.account, SERVICE_NEXT, index)
        self.ack_target = new_target(hosted.account, SERVICE_ACK, index)
        self.flow_target = new_target(hosted.account, SERVICE_FLOW, index)
        self.pulls = WaitingPulls(
            config.max_waiting, config.priority_policy, config.priority_timeout, new_pin
        )
        self.burst_size = burst_size
        self.replays_original = config.replay_policy == "original"
        self.replay_until = consumer.state.messages.last
        self.flow = PushFlow(config.flow_control, config.idle_heartbeat, now_ns)
        self.configure(config)

    def __dealloc__(self):
        free(self.next_target)
        free(self.ack_target)
        free(self.flow_target)

    def configure(self, config):
        """The consumer has this configuration from now on."""
        self.is_pull = config.is_pull
        self.headers_only = config.headers_only
        self.is_memory = config.mem_storage and not self.hosted.memory
        self.is_lazy = self.is_memory and config.ack_policy == "none"
        self.sample_percent = config.sample_percent()
        self.pulls.configure(config.max_waiting, config.priority_policy, config.priority_timeout)
        self.is_plain = config.priority_policy == "none" and not (
            config.max_batch or config.max_expires or config.max_bytes
        )
        self.deliver_subject = config.deliver_subject.encode()
        self.deliver_group = config.deliver_group.encode()
        self.rate = config.rate_limit_bps // 8
        if self.rate:
            # nats-server lets one message of the largest size pass at once.
            self.burst_ns = self.burst_size * 1_000_000_000 // self.rate

    def targets(self):
        """Addresses of what pull requests, acknowledgements and flow control are delivered to."""
        return <size_t> self.next_target, <size_t> self.ack_target, <size_t> self.flow_target

    def ack_pending(self):
        """Messages that were delivered and are not acknowledged."""
        return self.consumer.pending.count - self.consumer.pending.dead
