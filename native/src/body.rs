//! Hash of a payload's content; see `runtime.events.body_hash`.
//!
//! It ignores whitespace, member order, escapes and number notation. Leaves are hashed by folded multiplication (as in
//! wyhash) under secrets of this process. The hashes of members are added.

use crate::json::{unescape, unpadded, Cursor, Text, Value};
use pyo3::prelude::*;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Maximum nesting depth; deeper texts are declined.
const DEEPEST: usize = 256;
/// Maximum digits of an exponent.
const LONGEST_EXPONENT: usize = 17;

/// Secrets of this process. Hashes never leave the process.
static SECRETS: OnceLock<[u64; 4]> = OnceLock::new();

#[derive(Clone, Copy)]
enum Kind {
    Word = 1,
    Text,
    Number,
    Array,
    Object,
}

/// Returns the hash for an event's JSON text, `None` if Python must decide.
#[pyfunction]
pub fn body_hash(value: &[u8]) -> Option<i64> {
    let text = unpadded(value);
    std::str::from_utf8(text).ok()?;
    let hasher = Hasher::new();
    let mut payload = None;
    let mut cursor = Cursor::new(text);
    cursor.each_member(|cursor, name| {
        if name.plain() == Some(b"payload") || name.has_escapes && unescaped(name)? == b"payload" {
            (cursor.first_byte()? == b'{').then_some(())?;
            payload = Some(hasher.next(cursor, DEEPEST)?);
        } else {
            cursor.value()?;
        }
        Some(())
    })?;
    cursor.is_at_end().then_some(payload? as i64)
}

/// Returns the hash for a payload's members in text order.
pub fn members_hash(members: &[(&[u8], Value)]) -> Option<i64> {
    let hasher = Hasher::new();
    let mut pairs = Vec::with_capacity(members.len());
    for (name, value) in members {
        pairs.push((hasher.bytes(Kind::Text, name), hasher.value(*value, DEEPEST - 1)?));
    }
    Some(hasher.object(pairs) as i64)
}

struct Hasher(&'static [u64; 4]);

impl Hasher {
    fn new() -> Self {
        Hasher(SECRETS.get_or_init(|| {
            let source = RandomState::new();
            [0u8, 1, 2, 3].map(|number| source.hash_one(number))
        }))
    }

    fn next(&self, cursor: &mut Cursor, depth: usize) -> Option<u64> {
        let deeper = depth.checked_sub(1)?;
        match cursor.first_byte()? {
            b'{' => {
                let mut pairs = Vec::new();
                cursor.each_member(|cursor, name| {
                    pairs.push((self.text(name)?, self.next(cursor, deeper)?));
                    Some(())
                })?;
                Some(self.object(pairs))
            }
            b'[' => {
                let mut state = Kind::Array as u64;
                cursor.each_item(|cursor| {
                    state = self.mix(state, self.next(cursor, deeper)?);
                    Some(())
                })?;
                Some(self.mix(Kind::Array as u64, state))
            }
            _ => self.value(cursor.value()?, deeper),
        }
    }

    fn value(&self, value: Value, depth: usize) -> Option<u64> {
        Some(match value {
            Value::Null => self.bytes(Kind::Word, b"null"),
            Value::Bool(true) => self.bytes(Kind::Word, b"true"),
            Value::Bool(false) => self.bytes(Kind::Word, b"false"),
            Value::Text(text) => self.text(text)?,
            Value::Number(literal) => self.bytes(Kind::Number, &exact(literal)?),
            Value::Array(text) | Value::Object(text) => {
                let mut cursor = Cursor::new(text);
                let hash = self.next(&mut cursor, depth)?;
                cursor.is_at_end().then_some(hash)?
            }
        })
    }

    fn text(&self, text: Text) -> Option<u64> {
        Some(match text.plain() {
            Some(bytes) => self.bytes(Kind::Text, bytes),
            None => self.bytes(Kind::Text, &unescaped(text)?),
        })
    }

    /// Hashes pairs of name and value. The last value of a repeated name counts.
    fn object(&self, mut pairs: Vec<(u64, u64)>) -> u64 {
        pairs.sort_by_key(|pair| pair.0);
        let (mut sum, mut pairs) = (0u64, pairs.iter().peekable());
        while let Some(pair) = pairs.next() {
            if pairs.peek().is_none_or(|next| next.0 != pair.0) {
                sum = sum.wrapping_add(self.mix(pair.0, pair.1));
            }
        }
        self.mix(Kind::Object as u64, sum)
    }

    fn mix(&self, state: u64, next: u64) -> u64 {
        fold(state ^ self.0[0], next ^ self.0[1])
    }

    fn bytes(&self, kind: Kind, bytes: &[u8]) -> u64 {
        let mut state = self.0[2] ^ kind as u64;
        let mut rest = bytes;
        while let Some((chunk, behind)) = rest.split_first_chunk::<16>() {
            state = fold(word(&chunk[..8]) ^ self.0[3], word(&chunk[8..]) ^ state);
            rest = behind;
        }
        let (low, high) = rest.split_at(rest.len().min(8));
        let tail = fold(word(low) ^ self.0[3], word(high) ^ state);
        fold(tail ^ self.0[0], bytes.len() as u64 ^ self.0[1])
    }
}

fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// Converts at most eight bytes to a number.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

fn unescaped(text: Text) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.raw.len());
    unescape(text.raw, &mut bytes)?;
    Some(bytes)
}

/// Hashes a number by value: power of ten, sign, digits without outer zeros.
fn exact(literal: &[u8]) -> Option<Vec<u8>> {
    let (mantissa, exponent) = match literal.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&literal[..at], power(&literal[at + 1..])?),
        None => (literal, 0),
    };
    let unsigned = mantissa.strip_prefix(b"-").unwrap_or(mantissa);
    let fraction = unsigned.iter().position(|&byte| byte == b'.').map_or(0, |at| unsigned.len() - at - 1);
    let digits: Vec<u8> = unsigned.iter().copied().filter(|&byte| byte != b'.').collect();
    let last = digits.iter().rposition(|&digit| digit != b'0');
    let first = digits.iter().position(|&digit| digit != b'0');
    let (Some(first), Some(last)) = (first, last) else {
        return Some(b"0".to_vec());
    };
    let power = exponent - fraction as i64 + (digits.len() - 1 - last) as i64;
    let sign = if unsigned.len() < mantissa.len() { b'-' } else { b'+' };
    Some([&power.to_le_bytes()[..], &[sign], &digits[first..=last]].concat())
}

fn power(text: &[u8]) -> Option<i64> {
    let unsigned = text.strip_prefix(b"+").or(text.strip_prefix(b"-")).unwrap_or(text);
    let digits = &unsigned[unsigned.iter().take_while(|&&digit| digit == b'0').count()..];
    (digits.len() <= LONGEST_EXPONENT).then_some(())?;
    let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some(if text.first() == Some(&b'-') { -number } else { number })
}
