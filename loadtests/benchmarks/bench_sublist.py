"""The matcher of one worker: many literal subscriptions, with and without wildcards beside them."""

from types import ModuleType

from loadtests.benchmarks.timing import measure, once, show
from shardbroker.subjects.sublist import Sublist

literal_count = 100_000


def run(loops: ModuleType) -> None:
    literals = loops.SubjectArray([b"orders.%06d.eu.new" % index for index in range(literal_count)])
    for wildcards in ([], [b"orders.*.eu.new", b"orders.>"], [b"*.*.*.*", b"orders.*.*.*", b">", b"*.>"]):
        sublist = Sublist()
        title = f"sublist, {literal_count:,} literals, {len(wildcards)} wildcards"
        kept = loops.sublist_change(sublist, loops.SubjectArray(wildcards)) if wildcards else None
        made = []
        inserting_ns = once(lambda: made.append(loops.sublist_change(sublist, literals)), literal_count)  # noqa: B023
        found = loops.sublist_match(sublist, literals, literal_count)
        assert found == literal_count * (1 + len(wildcards))
        show(f"{title}: match all", *measure(lambda count: loops.sublist_match(sublist, literals, count)))  # noqa: B023
        one = loops.SubjectArray([literals.subjects[77]])
        show(f"{title}: match one", *measure(lambda count: loops.sublist_match(sublist, one, count)))  # noqa: B023
        show(f"{title}: insert", inserting_ns)
        removing_ns = once(lambda: _remove(loops, sublist, literals, made[0]), literal_count)  # noqa: B023
        show(f"{title}: remove", removing_ns)
        del kept


def _remove(loops: ModuleType, sublist, patterns, items) -> None:
    assert loops.sublist_remove(sublist, patterns, items) == 0
