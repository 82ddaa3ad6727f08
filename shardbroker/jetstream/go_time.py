"""Times as Go writes and reads them: nanoseconds since 1970 in, RFC 3339 text out, and back.

A time is an int, nanoseconds since 1970-01-01 in UTC, as everywhere in the broker; Python's `datetime` has
microseconds only and no year 0. Go's zero time (year 1), which an empty stream shows as its first time, is
`ZERO_TIME`. A time in a request may have an offset that an answer repeats: `normal_time` keeps it.

Errors of `parse_time` have Go's words, since answers of the JetStream API quote them.
"""

import re

ZERO_TIME_TEXT = "0001-01-01T00:00:00Z"
SECOND = 1_000_000_000  # nanoseconds
ZERO_TIME = -62_135_596_800 * SECOND  # nanoseconds since 1970, of ZERO_TIME_TEXT

_LAYOUT = "2006-01-02T15:04:05Z07:00"
_DAYS_BEFORE_1970 = 719_468  # from 0000-03-01, where the count of days in a year of 365.2425 days begins
_USUAL = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class GoTimeError(ValueError):
    """Not a time; the text is Go's."""


def format_time(ns: int) -> str:
    """RFC 3339 in UTC, with as many digits of the fraction as are not zero: time.RFC3339Nano."""
    return _format(ns, 0)


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 text; GoTimeError with Go's text."""
    return _parse(text)[0]


def normal_time(text: str) -> str:
    """The text of the same time, in its own offset, as Go writes it after reading ``text``."""
    return _format(*_parse(text))


def _format(ns: int, offset_minutes: int) -> str:
    seconds, fraction = divmod(ns, SECOND)
    days, second = divmod(seconds + offset_minutes * 60, 86_400)
    year, month, day = _date_of(days)
    text = f"{year:04}-{month:02}-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    if offset_minutes == 0:
        return text + "Z"
    sign = "+" if offset_minutes > 0 else "-"
    return f"{text}{sign}{abs(offset_minutes) // 60:02}:{abs(offset_minutes) % 60:02}"


def _date_of(days: int) -> tuple[int, int, int]:
    """Year, month, day of a number of days since 1970. Years begin in March, so that leap days come last."""
    era, day_of_era = divmod(days + _DAYS_BEFORE_1970, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month += 3 if month < 10 else -9
    return era * 400 + year + (month <= 2), month, day + 1


def _days_of(year: int, month: int, day: int) -> int:
    """The inverse of `_date_of`."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146_097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - _DAYS_BEFORE_1970
    )


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _parse(text: str) -> tuple[int, int]:
    """(nanoseconds since 1970, offset in minutes)."""
    match = _USUAL.fullmatch(text)
    reader = _Reader(text)
    if match is None:
        return reader.read()
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    numbers = (int(year), int(month), int(day), int(hour), int(minute), int(second))
    offset = 0
    if zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
        if int(zone[1:3]) > 24 or int(zone[4:6]) > 60:
            return reader.read()
    if not 1 <= numbers[1] <= 12 or numbers[3] > 23 or numbers[4] > 59 or numbers[5] > 59:
        return reader.read()
    if not 1 <= numbers[2] <= _days_in(numbers[0], numbers[1]):
        return reader.read()
    nanoseconds = int(fraction[1:].ljust(9, "0")) if fraction else 0
    return _nanoseconds(numbers, nanoseconds, offset), offset


def _nanoseconds(numbers: tuple[int, ...], fraction: int, offset_minutes: int) -> int:
    year, month, day, hour, minute, second = numbers
    minutes = (_days_of(year, month, day) * 24 + hour) * 60 + minute - offset_minutes
    return (minutes * 60 + second) * SECOND + fraction


class _Reader:
    """Reads a text piece by piece in the order of Go's layout, to find what Go would complain about."""

    # (literal before, name in the layout, digits, whether one digit will do, smallest, largest, word).
    PIECES = (
        ("", "2006", 4, False, 0, 9999, "year"),
        ("-", "01", 2, False, 1, 12, "month"),
        ("-", "02", 2, False, 0, 99, "day"),
        ("T", "15", 2, True, 0, 23, "hour"),
        (":", "04", 2, False, 0, 59, "minute"),
        (":", "05", 2, False, 0, 59, "second"),
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.rest = text

    def read(self) -> tuple[int, int]:
        """The same as `_parse`, slowly."""
        numbers = tuple(self._number(*piece) for piece in self.PIECES)
        fraction = 0
        if match := re.match(r"[.,]([0-9]+)", self.rest):
            fraction = int(match.group(1)[:9].ljust(9, "0"))
            self.rest = self.rest[match.end() :]
        offset = self._zone()
        if self.rest:
            raise GoTimeError(f"parsing time {_quoted(self.text)}: extra text: {_quoted(self.rest)}")
        if not 1 <= numbers[2] <= _days_in(numbers[0], numbers[1]):
            raise self._out_of_range("day")
        return _nanoseconds(numbers, fraction, offset), offset

    def _number(
        self, literal: str, name: str, digits: int, one_will_do: bool, low: int, high: int, word: str
    ) -> int:
        if not self.rest.startswith(literal):
            raise self._cannot_parse(literal)
        self.rest = self.rest[len(literal) :]
        match = re.match(rf"[0-9]{{{digits}}}", self.rest)
        if match is None and one_will_do:
            match = re.match("[0-9]", self.rest)
        if match is None:
            raise self._cannot_parse(name)
        value = int(match.group())
        self.rest = self.rest[match.end() :]
        if not low <= value <= high:
            raise self._out_of_range(word)
        return value

    def _zone(self) -> int:
        """The offset in minutes. Go allows 24 hours and 60 minutes: some people write them."""
        if self.rest.startswith("Z"):
            self.rest = self.rest[1:]
            return 0
        match = re.match(r"([+-])([0-9]{2}):([0-9]{2})", self.rest)
        if match is None:
            raise self._cannot_parse("Z07:00")
        hours, minutes = int(match.group(2)), int(match.group(3))
        if hours > 24:
            raise self._out_of_range("time zone offset hour")
        if minutes > 60:
            raise self._out_of_range("time zone offset minute")
        self.rest = self.rest[match.end() :]
        return (hours * 60 + minutes) * (-1 if match.group(1) == "-" else 1)

    def _cannot_parse(self, name: str) -> GoTimeError:
        text, rest = _quoted(self.text), _quoted(self.rest)
        return GoTimeError(f'parsing time {text} as "{_LAYOUT}": cannot parse {rest} as "{name}"')

    def _out_of_range(self, word: str) -> GoTimeError:
        return GoTimeError(f"parsing time {_quoted(self.text)}: {word} out of range")


def _quoted(text: str) -> str:
    """In double quotes as Go's package time does it: bytes outside printable ASCII as ``\\x..``."""
    written = []
    for byte in text.encode():
        if byte in b'"\\':
            written.append("\\" + chr(byte))
        else:
            written.append(chr(byte) if 0x20 <= byte < 0x80 else f"\\x{byte:02x}")
    return '"' + "".join(written) + '"'
