"""When a scheduled message fires: the value of Nats-Schedule, with that of Nats-Schedule-Time-Zone.

    @at 2026-01-02T03:04:05Z     once; at once if it is past
    @every 1h30m                 again and again, a second or more apart, from the base rounded to a second
    @yearly @annually @monthly @weekly @daily @midnight @hourly
    0 */5 8-18 * mon-fri *       six fields: second, minute, hour, day of month, month, day of week

A field is a list of ``*``, ``?``, ``n`` or ``a-b``, each with a step ``/s`` if wanted (``n/s`` goes on to the
largest); months and days of the week also have English names of three letters, Sunday is 0. If neither of
the two day fields has a star (a step above 1 takes it away), one of them is enough.

Cron fields are compared with the wall clock of the time zone. Around a change of that clock the search steps
as nats-server's does, so that both fire at the same instants: hours are counted through, days by the date.

Times are nanoseconds since 1970, UTC. Source: spec page 03 section 10, ADR-51; nats-server 2.15.1 decided.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from shardbroker.decimals import signed
from shardbroker.jetstream.durations import NS_PER_S, DurationError, parse_duration
from shardbroker.jetstream.go_time import GoTimeError, format_time, parse_time

PATTERN = "pattern"  # error code 10189
TIME_ZONE = "time zone"  # error code 10223
ERR_CODES = {PATTERN: 10189, TIME_ZONE: 10223}

YEARS_MAX = 5  # a pattern that fires less often is refused: it may never fire (30 February)
ZONES_CACHED = 64  # a stream's schedules name few zones; each costs a file to read
HALF_SECOND_NS = NS_PER_S // 2
MINUTE_S = 60
HOUR_S = 3600
JANUARY, SUNDAY_IN_ISO = 1, 7

_PREDEFINED = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# smallest, largest, names
_FIELDS = (
    (0, 59, {}),
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_NUMBER_MAX = 10**18 - 1
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleError(ValueError):
    """A schedule that cannot be. ``field`` is `PATTERN` or `TIME_ZONE`, ``err_code`` that of the API."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field
        self.err_code = ERR_CODES[field]


def next_fire(pattern: str, time_zone: str | None, now_ns: int, base_ns: int) -> tuple[int, bool]:
    """(when it fires next, whether it repeats).

    ``base_ns`` is when the schedule was stored, or fired last. What was missed since then is skipped: a
    repeating schedule fires next after ``now_ns``. Raises `ScheduleError`.
    """
    zone = None if time_zone is None else load_zone(time_zone)
    if pattern.startswith(("@at ", "@every ")) and zone is not None:
        raise ScheduleError(PATTERN, "a time zone is for cron patterns only")
    if pattern.startswith("@at "):
        return _parse_time(pattern[4:]), False
    if pattern.startswith("@every "):
        return _next_interval(pattern[7:], now_ns, base_ns), True
    fields = _parse_cron(_PREDEFINED.get(pattern, pattern))
    fire_ns = _next_cron(fields, zone or UTC, base_ns)
    if fire_ns < now_ns:
        fire_ns = _next_cron(fields, zone or UTC, _round_to_second(now_ns))
    return fire_ns, True


def format_fire(fire_ns: int, time_zone: str | None) -> bytes:
    """The time as the value of Nats-Schedule-Next: RFC 3339 in the schedule's zone, as short as possible."""
    zone = None if time_zone is None else load_zone(time_zone)
    offset_s = _offset_s(zone, fire_ns // NS_PER_S) if zone else 0
    text = format_time(fire_ns + offset_s * NS_PER_S)
    if offset_s:
        hours, minutes = divmod(abs(offset_s) // MINUTE_S, 60)
        text = f"{text[:-1]}{'-' if offset_s < 0 else '+'}{hours:02}:{minutes:02}"
    return text.encode()


def _parse_time(text: str) -> int:
    try:
        return parse_time(text)
    except GoTimeError as error:
        raise ScheduleError(PATTERN, str(error)) from error


@lru_cache(maxsize=ZONES_CACHED)
def load_zone(name: str) -> tzinfo:
    """The zone of a name of the IANA database; ``Local`` is taken for UTC. Raises `ScheduleError`."""
    from zoneinfo import ZoneInfo  # few brokers ever need it

    if name in ("UTC", "Local"):
        return UTC
    # What ZoneInfo refuses it refuses in several ways: a directory, a path that leaves its own, no such name.
    if not name or "\\" in name or name.startswith("/"):
        raise ScheduleError(TIME_ZONE, f"no time zone: {name}")
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ScheduleError(TIME_ZONE, f"no time zone: {name}") from error


def _round_to_second(ns: int) -> int:
    return (ns + HALF_SECOND_NS) // NS_PER_S * NS_PER_S


def _next_interval(text: str, now_ns: int, base_ns: int) -> int:
    try:
        interval_ns = parse_duration(text)
    except DurationError as error:
        raise ScheduleError(PATTERN, str(error)) from error
    if interval_ns < NS_PER_S:
        raise ScheduleError(PATTERN, f"an interval of less than a second: {text}")
    fire_ns = _round_to_second(base_ns) + interval_ns
    return fire_ns if fire_ns >= now_ns else _round_to_second(now_ns) + interval_ns


class _Cron:
    """The six fields as sets of numbers, and how the two day fields are taken together."""

    def __init__(self, fields: list[tuple[frozenset[int], bool]]) -> None:
        self.second, self.minute, self.hour, self.day, self.month, self.weekday = (f[0] for f in fields)
        self.both_days = fields[3][1] or fields[5][1]

    def day_matches(self, date: datetime) -> bool:
        in_month = date.day in self.day
        in_week = date.isoweekday() % SUNDAY_IN_ISO in self.weekday
        return in_month and in_week if self.both_days else in_month or in_week


@lru_cache(maxsize=256)  # the schedules of a stream that fire all the time; each takes some kilobytes
def _parse_cron(pattern: str) -> _Cron:
    texts = pattern.split()
    if len(texts) != len(_FIELDS):
        raise ScheduleError(PATTERN, f"a pattern has 6 fields: {pattern}")
    return _Cron([_parse_field(text, *bounds) for text, bounds in zip(texts, _FIELDS, strict=True)])


def _parse_field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """The numbers of a field, and whether a star without a step is among them."""
    numbers: set[int] = set()
    has_star = False
    for part in filter(None, text.split(",")):
        span, *steps = part.split("/")
        first, *lasts = span.split("-")
        is_star = first in ("*", "?")
        if len(steps) > 1 or (len(lasts) > 1 and not is_star):
            raise ScheduleError(PATTERN, f"no part of a field: {part}")
        start = low if is_star else _number(first, names)
        step = _number(steps[0], {}) if steps else 1
        end = _number(lasts[0], names) if lasts and not is_star else start
        if is_star or (steps and not lasts):
            end = high
        if not low <= start <= end <= high or step == 0:
            raise ScheduleError(PATTERN, f"not within {low}-{high}: {part}")
        numbers.update(range(start, end + 1, step))
        has_star = has_star or (is_star and step == 1)
    return frozenset(numbers), has_star


def _number(text: str, names: dict[str, int]) -> int:
    name = names.get(text.lower())
    if name is not None:
        return name
    number = signed(text, 0, _NUMBER_MAX)
    if number is None:
        raise ScheduleError(PATTERN, f"no number: {text}")
    return number


def _next_cron(cron: _Cron, zone: tzinfo, base_ns: int) -> int:
    """The first matching second after ``base_ns``.

    A field that does not match is advanced until it does; all smaller ones are set to zero first, once. When
    it wraps around, the larger fields are looked at again.
    """
    if not all((cron.second, cron.minute, cron.hour, cron.day or cron.weekday, cron.month)):
        raise ScheduleError(PATTERN, "a field without numbers never matches")
    search = _Search(zone, base_ns // NS_PER_S + 1)
    year_max = search.local.year + YEARS_MAX
    while search.local.year <= year_max:
        if (
            _advance_month(search, cron)
            and _advance_day(search, cron)
            and _advance(search, cron.hour, "hour", HOUR_S)
            and _advance(search, cron.minute, "minute", MINUTE_S)
            and _advance(search, cron.second, "second", 1)
        ):
            return search.utc_s * NS_PER_S
    raise ScheduleError(PATTERN, f"does not fire within {YEARS_MAX} years")


class _Search:
    """An instant, and what the wall clock of the zone shows then."""

    def __init__(self, zone: tzinfo, utc_s: int) -> None:
        self.zone = zone
        self.is_truncated = False  # whether the smaller fields were set to zero once
        self.move_to(utc_s)

    def move_to(self, utc_s: int) -> None:
        self.utc_s = utc_s
        self.local = _EPOCH + timedelta(seconds=utc_s + _offset_s(self.zone, utc_s))

    def move_to_local(self, local: datetime) -> None:
        """Where the wall clock shows this; in a gap or an overlap of the clock, the instant that Go takes."""
        wanted_s = (local - _EPOCH) // timedelta(seconds=1)
        offset_s = _offset_s(self.zone, wanted_s)
        if offset_s:
            # The offset at the wrong instant, taken as UTC, is a guess; one more look corrects it.
            offset_s = _offset_s(self.zone, wanted_s - offset_s)
        self.move_to(wanted_s - offset_s)

    def truncate(self, **zeros: int) -> None:
        if not self.is_truncated:
            self.is_truncated = True
            self.move_to_local(self.local.replace(**zeros))


def _advance_month(search: _Search, cron: _Cron) -> bool:
    """Whether the month matches now; False if a new year began."""
    while search.local.month not in cron.month:
        search.truncate(day=1, hour=0, minute=0, second=0)
        year, month = divmod(search.local.year * 12 + search.local.month, 12)
        search.move_to_local(search.local.replace(year=year, month=month + 1))
        if search.local.month == JANUARY:
            return False
    return True


def _advance_day(search: _Search, cron: _Cron) -> bool:
    """Whether the day matches now; False if a new month began."""
    while not cron.day_matches(search.local):
        search.truncate(hour=0, minute=0, second=0)
        search.move_to_local(search.local + timedelta(days=1))
        if search.local.day == 1:
            return False
    return True


def _advance(search: _Search, wanted: frozenset[int], unit: str, unit_s: int) -> bool:
    """The same for hours, minutes and seconds, which pass in real time."""
    while getattr(search.local, unit) not in wanted:
        if unit == "hour":
            search.truncate(minute=0, second=0)
        elif not search.is_truncated:
            search.is_truncated = True
            search.move_to(search.utc_s - search.utc_s % unit_s)
        search.move_to(search.utc_s + unit_s)
        if getattr(search.local, unit) == 0:
            return False
    return True


def _offset_s(zone: tzinfo, utc_s: int) -> int:
    """By how many seconds the wall clock is ahead of UTC at an instant."""
    if zone is UTC:
        return 0
    offset = (_EPOCH_UTC + timedelta(seconds=utc_s)).astimezone(zone).utcoffset()
    return offset // timedelta(seconds=1)
