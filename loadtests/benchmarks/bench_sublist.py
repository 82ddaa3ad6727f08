"""The matcher of one worker: many literal subscriptions, with and without wildcards beside them."""

from types import ModuleType

from loadtests.benchmarks.timing import measure, once, show
from shardbroker.subjects.sublist import Sublist

literal_count = 100_000


def run(loops: ModuleType) -> None:
    for wildcards in ([], [b"orders.*.eu.new", b"orders.>"], [b"*.*.*.*", b"orders.*.*.*", b">", b"*.>"]):
        _bench(loops, wildcards)


def _bench(loops: ModuleType, wildcards: list[bytes]) -> None:
    literals = loops.SubjectArray([b"orders.%06d.eu.new" % index for index in range(literal_count)])
    one = loops.SubjectArray([literals.subjects[77]])
    sublist = Sublist()
    kept = [loops.sublist_change(sublist, loops.SubjectArray(wildcards))] if wildcards else []
    title = f"sublist, {literal_count:,} literals, {len(wildcards)} wildcards"

    inserting_ns = once(lambda: kept.append(loops.sublist_change(sublist, literals)), literal_count)
    assert loops.sublist_match(sublist, literals, literal_count) == literal_count * (1 + len(wildcards))
    show(f"{title}: match all", *measure(lambda count: loops.sublist_match(sublist, literals, count)))
    show(f"{title}: match one", *measure(lambda count: loops.sublist_match(sublist, one, count)))
    show(f"{title}: insert", inserting_ns)
    removing_ns = once(lambda: _remove(loops, sublist, literals, kept[-1]), literal_count)
    show(f"{title}: remove", removing_ns)


def _remove(loops: ModuleType, sublist, patterns, items) -> None:
    assert loops.sublist_remove(sublist, patterns, items) == 0
