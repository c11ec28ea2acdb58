"""Amounts and rates: decimal text to the bytes of an Avro decimal(38, 18), never through a float."""

import re

_SCALE = 18
_AMOUNT = re.compile(r"(-?[0-9]{1,20})(?:\.([0-9]{1,18}))?")


def parse_amount(text: str) -> bytes:
    r"""Return `value * 10**18` as big-endian two's complement bytes, as few as hold it (Avro 1.12, "Decimal").

    `text`: `-?[0-9]{1,20}(\.[0-9]{1,18})?` in ASCII. Leading zeros are fine, minus zero is zero.
    Raises `ValueError` for anything else.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError("not a decimal number of at most 20 digits before and 18 after the point")
    whole, fraction = match.groups("")
    unscaled = int(whole + fraction.ljust(_SCALE, "0"))
    magnitude = unscaled if unscaled >= 0 else ~unscaled
    return unscaled.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)
