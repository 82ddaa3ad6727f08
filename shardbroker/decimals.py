"""Whole numbers in decimal digits, as clients send them: of any length, and bounded.

Python refuses to convert more than some thousand digits, leading zeros among them, and raises. So the zeros
are taken off, and the length is looked at, before anything is converted.
"""

_DIGITS_MAX = 20  # of 64 bits


def unsigned(text: str | bytes, high: int) -> int | None:
    """The number in ``text``, ASCII digits only; None if it is none, or above ``high`` (64 bits at most)."""
    digits = text.encode("ascii", "replace") if isinstance(text, str) else text
    if not digits.isdigit():
        return None
    digits = digits.lstrip(b"0") or b"0"
    if len(digits) > _DIGITS_MAX:
        return None
    value = int(digits)
    return value if value <= high else None


def signed(text: str | bytes, low: int, high: int) -> int | None:
    """The same with a sign before it, or none; None also below ``low``."""
    if text[:1] in ("-", b"-"):
        value = unsigned(text[1:], -low)
        return None if value is None else -value
    return unsigned(text[1:] if text[:1] in ("+", b"+") else text, high)
