//! Converts amounts and times to Avro numbers. `None`: `runtime.events.amounts` or `runtime.events.times` must decide.

const SCALE: usize = 18;
const WHOLE_DIGITS: usize = 20;

/// Returns `text * 10**18`. The grammar is that of `runtime.events.amounts.parse_amount`.
pub fn amount(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let point = digits.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &digits[..0]),
    };
    if whole.is_empty()
        || whole.len() > WHOLE_DIGITS
        || fraction.len() > SCALE
        || point.is_some() && fraction.is_empty()
    {
        return None;
    }
    // Only integer parts of 20 digits exceed 64 bits, so one 128-bit operation is enough.
    let scaled_whole = unsigned(whole)?.checked_mul(10i128.pow(SCALE as u32))?;
    let scaled_fraction = unsigned(fraction)? * 10i128.pow((SCALE - fraction.len()) as u32);
    let magnitude = scaled_whole + scaled_fraction;
    Some(if negative { -magnitude } else { magnitude })
}

/// Returns big-endian two's complement of minimum length (Avro 1.12, "Decimal"), and the length.
pub fn write_decimal(out: &mut Vec<u8>, number: i128) {
    let bits = 128 - (if number < 0 { !number } else { number }).leading_zeros() as usize;
    super::avro::write_bytes(out, &number.to_be_bytes()[15 - bits / 8..]);
}

/// Returns microseconds since the epoch for `YYYY-MM-DDThh:mm:ss[.f{1,9}]Z` from 1970 on; further digits are truncated.
pub fn time(text: &[u8]) -> Option<i64> {
    let (moment, rest) = text.split_at_checked(19)?;
    let separators = [moment[4], moment[7], moment[10], moment[13], moment[16]];
    if separators != *b"--T::" {
        return None;
    }
    let year = small(&moment[..4])?;
    let (month, day) = (small(&moment[5..7])?, small(&moment[8..10])?);
    let (hour, minute, second) = (small(&moment[11..13])?, small(&moment[14..16])?, small(&moment[17..19])?);
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000 + micros(rest)?)
}

/// Parses `Z`, or a point, one to nine digits and `Z`.
fn micros(rest: &[u8]) -> Option<i64> {
    let fraction = match rest {
        [b'Z'] => return Some(0),
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    let mut number = 0;
    for place in 0..9 {
        let digit = match fraction.get(place) {
            Some(byte @ b'0'..=b'9') => i64::from(byte - b'0'),
            Some(_) => return None,
            None => 0,
        };
        if place < 6 {
            number = number * 10 + digit;
        }
    }
    Some(number)
}

fn unsigned(digits: &[u8]) -> Option<i128> {
    let (head, tail) = digits.split_at(digits.len().min(SCALE));
    let mut number = i128::from(u64_of(head)?);
    for &byte in tail {
        number = number * 10 + i128::from(digit(byte)?);
    }
    Some(number)
}

/// Parses at most 18 digits.
fn u64_of(digits: &[u8]) -> Option<u64> {
    let mut number = 0;
    for &byte in digits {
        number = number * 10 + u64::from(digit(byte)?);
    }
    Some(number)
}

fn small(digits: &[u8]) -> Option<i64> {
    Some(u64_of(digits)? as i64)
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let leap_day = i64::from(month > 2 && is_leap(year));
    (year - 1970) * 365 + leap_days + BEFORE_MONTH[month as usize - 1] + leap_day + day - 1
}
