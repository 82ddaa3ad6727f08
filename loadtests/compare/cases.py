"""The table of core cases: what is measured, which figure counts, which ratio to nats-server is the goal.

To add a case: one line here, naming a function `(server, seconds) -> {figure: value}`.
"""

from functools import partial

from loadtests.compare import crowds, latency, placement
from loadtests.compare.case import Case, Figures, Goal, at_least, at_most, cpu_informs
from loadtests.compare.traffic import Finished, Traffic, measure
from loadtests.servers import RunningServer


def throughput(name: str, title: str, goal: Goal, **shape) -> Case:
    """A publish/subscribe case; `shape` is that of `Traffic`."""
    traffic = Traffic(**shape)
    return Case(name, title, partial(_measure, traffic), (goal, cpu_informs))


def _measure(traffic: Traffic, server: RunningServer, seconds: float) -> Figures:
    return measure(server, traffic, seconds)


def _measure_with_churn(server: RunningServer, seconds: float) -> Figures:
    def churner(server: RunningServer, finished: Finished):
        return [(crowds.churn, (server.port, 10_000, finished))]

    return measure(server, Traffic(), seconds, beside=churner)


def _measure_across(payload_size: int, server: RunningServer, seconds: float) -> Figures:
    return placement.measure_across(server, Traffic(payload_size=payload_size, wildcard=True), seconds)


class OpenLoop:
    """A share of the peer's saturation, found once by `prepare`, then used for both in all pairs."""

    def __init__(self, share: float):
        self.share = share
        self.rate = 0.0

    def prepare(self, peer: RunningServer, seconds: float) -> None:
        self.rate = latency.saturation(peer, seconds)["messages_per_s"] * self.share

    def __call__(self, server: RunningServer, seconds: float) -> Figures:
        return latency.open_loop(server, self.rate, max(2.0, seconds))


def _request_reply(in_flight: int, server: RunningServer, seconds: float) -> Figures:
    return latency.request_reply(server, in_flight, seconds)


def _bursts(in_flight: int, server: RunningServer, seconds: float) -> Figures:
    return latency.request_reply(server, in_flight, seconds, in_bursts=True)


def _chatter(count: int, server: RunningServer, seconds: float) -> Figures:
    return crowds.chatter(server, count, rate_each=4, seconds=max(2.0, seconds))


def _broadcast(server: RunningServer, seconds: float) -> Figures:
    return crowds.broadcast(server, count=5000, messages=max(5, int(10 * seconds)))


def _idle(server: RunningServer, seconds: float) -> Figures:
    return crowds.idle_memory(server, count=5000)


def _subscriptions(server: RunningServer, seconds: float) -> Figures:
    return crowds.subscription_memory(server, count=100_000)


def _storm(server: RunningServer, seconds: float) -> Figures:
    return crowds.storm(server, count=10_000)


def _size_case(size: int) -> Case:
    return Case(
        f"size_{size}",
        f"{size} B, 1 to 1",
        partial(_measure, Traffic(payload_size=size)),
        (Goal("deliveries_per_s"), cpu_informs),
        sweep="size",
        x=size,
    )


half_load = OpenLoop(0.5)

cases: tuple[Case, ...] = (
    throughput("alone_16", "16 B, 1 publisher, nobody listening", at_least(8, "messages_per_s"),
               payload_size=16, subscribers=0),
    throughput("1to1_16", "16 B, 1 to 1", at_least(8), payload_size=16),
    throughput("2to2_16", "16 B, 2 publishers, 2 subscribers of both", at_least(7), payload_size=16,
               publishers=2, subscribers=2),
    throughput("1to1_128", "128 B, 1 to 1", at_least(5)),
    throughput("headers_128", "128 B and 64 B of headers, 1 to 1", at_least(5), headers_size=64),
    throughput("fan8_128", "128 B, 1 to 8", at_least(6), subscribers=8),
    throughput("fan16_128", "128 B, 1 to 16", at_least(5), subscribers=16),
    throughput("1to1_1024", "1 KiB, 1 to 1", at_least(2), payload_size=1024),
    throughput("fan8_1024", "1 KiB, 1 to 8", at_least(1.6), payload_size=1024, subscribers=8),
    throughput("1to1_16384", "16 KiB, 1 to 1", at_least(1.2), payload_size=16384),
    throughput("subjects_wildcard", "128 B over 10,000 subjects, one subscription to >", at_least(5),
               subject_count=10_000, wildcard=True),
    throughput("subjects_literal", "128 B over 10,000 subjects, 10,000 subscriptions", at_least(5),
               subject_count=10_000),
    throughput("queue_4", "128 B, 1 to a queue group of 4", at_least(5), subscribers=4, queue=True),
    Case("request_1", "request/reply 16 B, one by one", partial(_request_reply, 1),
         (at_most(0.8, "p50_us"), at_most(1, "p99_us"), cpu_informs)),
    Case("request_64", "request/reply 16 B, 64 in flight", partial(_request_reply, 64),
         (at_least(3, "requests_per_s"), Goal("p99_us"), cpu_informs)),
    Case("burst_8", "request/reply 16 B, bursts of 8, answered one by one", partial(_bursts, 8),
         (at_most(1, "p50_us"), at_most(1, "p99_us"), cpu_informs)),
    Case("chatter_1000", "1,000 connections, 4 messages a second each", partial(_chatter, 1000),
         (at_most(0.8, "cpu_ns"),)),
    Case("chatter_5000", "5,000 connections, 4 messages a second each", partial(_chatter, 5000),
         (at_most(0.8, "cpu_ns"),)),
    Case("open_loop_50", "128 B, 1 to 1 at 50 % of nats-server's saturation", half_load,
         (at_most(1, "p50_us"), at_most(1, "p99_us"), at_most(1, "p999_us"), cpu_informs,
          Goal("late_us_max")), prepare=half_load.prepare),
    Case("broadcast_5000", "128 B to 5,000 connections", _broadcast,
         (at_most(0.5, "cpu_ns"), Goal("all_reached_ms"))),
    Case("churn_128", "128 B, 1 to 1 beside 10,000 SUB and UNSUB a second", _measure_with_churn,
         (at_least(3), Goal("churn_per_s"), cpu_informs)),
    Case("idle_5000", "5,000 idle connections", _idle,
         (at_most(1, "bytes_per_connection"), Goal("base_megabytes"),
          Goal("idle_cores_empty", at_most=0.01, absolute=True),
          Goal("idle_cores_crowd", at_most=0.02, absolute=True))),
    Case("subscriptions", "100,000 literal subscriptions of one connection", _subscriptions,
         (at_most(1, "bytes_per_subscription"), Goal("subscriptions_per_s"))),
    Case("storm_10000", "10,000 connections come at once, one pings meanwhile", _storm,
         (at_most(1, "ping_p99_us"), Goal("connects_per_s"), Goal("cpu_ns"))),
    Case("across_16", "16 B, 1 to 1, on different workers", partial(_measure_across, 16),
         (at_least(7), cpu_informs), with_monitor=True),
    Case("across_128", "128 B, 1 to 1, on different workers", partial(_measure_across, 128),
         (at_least(4.5), cpu_informs), with_monitor=True),
    *(_size_case(size) for size in (64, 256, 1024, 4096, 16384, 65536)),
)  # fmt: skip
