//! Makes the raw record of a received event; see `ingest.raw_record`.

use crate::json::{unescape, unpadded, Cursor, Text, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::str::from_utf8;

/// Maximum nesting depth and length of numbers; texts above them are declined.
const DEEPEST: usize = 32;
const LONGEST_NUMBER: usize = 64;

/// Maximum bytes of an account key; see `runtime.events.account_key`.
pub const MAX_KEY_BYTES: usize = 4096;

/// Members that the record needs: of the envelope, then of the payload in the order of `account_key`.
const NAMES: [&[u8]; 10] = [
    b"id",
    b"event_type",
    b"position",
    b"traceparent",
    b"simulated",
    b"biz_type",
    b"account_id",
    b"account",
    b"account_number",
    b"client_request_id",
];
const ID: usize = 0;
const EVENT_TYPE: usize = 1;
const POSITION: usize = 2;
const TRACEPARENT: usize = 3;
const SIMULATED: usize = 4;
const BIZ_TYPE: usize = 5;

/// Per name: whether the member exists, and its text if it is a string.
#[derive(Default)]
struct Members<'a>([Option<Option<&'a str>>; NAMES.len()]);

impl<'a> Members<'a> {
    /// The last of repeated members wins. Declines a text with escapes.
    fn put(&mut self, name: &[u8], value: Option<Text<'a>>) -> Option<()> {
        if let Some(place) = NAMES.iter().position(|known| *known == name) {
            self.0[place] = Some(match value {
                Some(text) => Some(from_utf8(text.plain()?).ok()?),
                None => None,
            });
        }
        Some(())
    }

    fn has(&self, place: usize) -> bool {
        self.0[place].is_some()
    }

    /// Returns the member's text, empty if there is none.
    fn text(&self, place: usize) -> &'a str {
        self.0[place].flatten().unwrap_or_default()
    }

    fn account_key(&self) -> Option<&'a str> {
        (BIZ_TYPE + 1..NAMES.len()).map(|place| self.text(place)).find(|text| !text.is_empty())
    }
}

/// Id, event type, position, timestamp and version of the message, empty if absent.
type Beside<'py> =
    (Bound<'py, PyString>, Bound<'py, PyString>, Bound<'py, PyString>, Bound<'py, PyString>, Bound<'py, PyString>);

type Headers<'py> = Vec<(&'static str, Bound<'py, PyBytes>)>;

/// The fields of an `ingest.raw_record.RawRecord`.
type RawRecord<'py> = (
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyString>>,
    Headers<'py>,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    usize,
);

/// Returns the raw record of an event, None if the Python path must make it.
///
/// `beside`: fields of the push message. `received_at`: text of the header. `simulated`: see `ingest.sources.source`.
#[pyfunction]
pub fn raw_record<'py>(
    py: Python<'py>,
    payload: &Bound<'py, PyBytes>,
    beside: Beside<'py>,
    source: &str,
    received_at: &str,
    simulated: bool,
) -> Option<RawRecord<'py>> {
    let (id, event_type, position, timestamp, version) = &beside;
    let (id, event_type, position) = (id.to_str().ok()?, event_type.to_str().ok()?, position.to_str().ok()?);
    let (timestamp, version) = (timestamp.to_str().ok()?, version.to_str().ok()?);
    let (outer, inner) = members(payload.as_bytes())?;
    let (value, fields, envelope) = match inner {
        Some(inner) if outer.has(EVENT_TYPE) => (payload.clone(), inner, outer),
        _ if !event_type.is_empty() => {
            let fields = [id, event_type, position, timestamp, version];
            let value = wrapped(unpadded(payload.as_bytes()), fields, simulated)?;
            (PyBytes::new(py, &value), outer, Members::default())
        }
        _ => return None,
    };
    if envelope.has(TRACEPARENT) || envelope.has(SIMULATED) {
        return None;
    }
    let or = |own: &'_ str, beside: &'_ str| PyString::new(py, if own.is_empty() { beside } else { own });
    let event_id = or(envelope.text(ID), id);
    let event_type = or(envelope.text(EVENT_TYPE), event_type);
    let position = or(envelope.text(POSITION), position);
    let biz_type = PyString::new(py, fields.text(BIZ_TYPE));
    let key = fields.account_key();
    if key.is_some_and(|key| key.len() > MAX_KEY_BYTES) {
        return None;
    }
    let contents = [
        ("source", source),
        ("received_at", received_at),
        ("event_id", event_id.to_str().ok()?),
        ("event_type", event_type.to_str().ok()?),
        ("biz_type", fields.text(BIZ_TYPE)),
        ("position", position.to_str().ok()?),
        ("version", version),
        ("simulated", if simulated { "true" } else { "" }),
    ];
    let present = contents.iter().filter(|(_, text)| !text.is_empty());
    let headers: Headers = present.map(|(name, text)| (*name, PyBytes::new(py, text.as_bytes()))).collect();
    let quoted: usize = contents.iter().map(|(_, text)| text.len()).sum();
    let size = value.as_bytes().len() + key.map_or(0, str::len) + quoted;
    let key = key.map(|key| PyString::new(py, key));
    Some((value, key, headers, event_id, event_type, biz_type, position, size))
}

/// Reads the members of an object and of the object `payload` in it.
fn members(text: &[u8]) -> Option<(Members<'_>, Option<Members<'_>>)> {
    from_utf8(text).ok()?;
    let mut cursor = Cursor::new(text);
    let (mut outer, mut inner) = (Members::default(), None);
    cursor.each_member(|cursor, name| {
        let name = name.plain()?;
        if name != b"payload" {
            return outer.put(name, checked(cursor, DEEPEST)?);
        }
        let mut members = Members::default();
        cursor.each_member(|cursor, name| members.put(name.plain()?, checked(cursor, DEEPEST)?))?;
        inner.replace(members).is_none().then_some(())
    })?;
    cursor.is_at_end().then_some((outer, inner))
}

/// Reads a whole value and returns it if it is a string.
fn checked<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Option<Option<Text<'a>>> {
    let deeper = depth.checked_sub(1)?;
    match cursor.first_byte()? {
        b'{' => cursor.each_member(|cursor, name| {
            is_text(name)?;
            checked(cursor, deeper).map(drop)
        })?,
        b'[' => cursor.each_item(|cursor| checked(cursor, deeper).map(drop))?,
        _ => match cursor.value()? {
            Value::Text(text) => {
                is_text(text)?;
                return Some(Some(text));
            }
            Value::Number(literal) if literal.len() > LONGEST_NUMBER => return None,
            _ => {}
        },
    }
    Some(None)
}

/// Declines invalid escapes.
fn is_text(text: Text) -> Option<()> {
    if text.has_escapes {
        unescape(text.raw, &mut Vec::with_capacity(text.raw.len()))?;
    }
    Some(())
}

/// Builds the envelope around a payload from the message's fields. Declines fields that need escapes.
fn wrapped(
    payload: &[u8],
    [id, event_type, position, timestamp, version]: [&str; 5],
    simulated: bool,
) -> Option<Vec<u8>> {
    let fields = [
        ("{\"id\":\"", id, true),
        (",\"event_type\":\"", event_type, true),
        (",\"position\":\"", position, !position.is_empty()),
        (",\"timestamp\":\"", timestamp, true),
        (",\"version\":\"", version, !version.is_empty()),
    ];
    let mut value = Vec::with_capacity(payload.len() + 256);
    for (before, text, is_there) in fields {
        if text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)) {
            return None;
        }
        if is_there {
            value.extend_from_slice(before.as_bytes());
            value.extend_from_slice(text.as_bytes());
            value.push(b'"');
        }
    }
    if simulated {
        value.extend_from_slice(b",\"simulated\":true");
    }
    value.extend_from_slice(b",\"payload\":");
    value.extend_from_slice(payload);
    value.push(b'}');
    Some(value)
}
