"""Converts amounts and rates from decimal text to Avro decimal(38, 18), never through a float."""

import re
from decimal import Decimal

_SCALE = 18
_DIGITS = 38
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)(?=[0-9])0*+([0-9]{0,17}))?")


def parse_amount(text: str) -> bytes:
    """Return `value * 10**18` as big-endian two's complement bytes of minimum length (Avro 1.12, "Decimal").

    `text` is a JSON number; leading zeros are allowed. Every notation of a value with at most 20 digits before and 18
    after the point is exact: 1E+2, 0.0100e2, 8.0100000000000000000000. Minus zero becomes zero.
    Raises `ValueError` for any other text.
    """
    unscaled = scaled(text, _SCALE, _DIGITS)
    if unscaled is None:
        raise ValueError("not a decimal number of at most 20 digits before and 18 after the point")
    magnitude = unscaled if unscaled >= 0 else ~unscaled
    return unscaled.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def for_people(value: Decimal) -> str:
    """Return every digit of an amount or rate, with thousands separators, without trailing zeros: `51,844.86`."""
    text = f"{value:,f}"  # normalize() would round to 28 digits
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(text: str, scale: int, digits: int) -> int | None:
    """Return `value * 10**scale` if it is an integer of at most `digits` digits. Takes time linear in the text."""
    parts = exact_parts(text)
    if parts is None:
        return None
    sign, significant, power = parts
    if not significant:
        return 0
    if not 0 <= power + scale <= digits - len(significant):
        return None
    number = int(significant + "0" * (power + scale))
    return -number if sign else number


def exact_parts(text: str) -> tuple[str, str, int] | None:
    """Return sign, digits without outer zeros, and power of ten of a number. Zero has no digits.

    Returns None if `text` is not a number or its exponent has more than 17 digits.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = match.groups("")
    digits = whole + fraction
    significant = digits.rstrip("0")
    if not significant:
        return "", "", 0
    power = int(exponent_sign + (exponent or "0")) - len(fraction) + len(digits) - len(significant)
    return sign, significant.lstrip("0"), power
