//! Reads a pushed event to the framed record of its contract.

use crate::avro::{write_bytes, write_length, write_long, NULL, SOME};
use crate::body::members_hash;
use crate::json::{unescape, Cursor, Value};
use crate::kafka::{Records, Writer, SIMULATED};
use crate::raw::MAX_KEY_BYTES;
use crate::scalar::{amount, time, write_decimal};
use crate::window::DuplicateWindow;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Names of the members that fields read from one JSON object.
struct Names {
    names: Vec<Box<[u8]>>,
    table: [u8; Names::BUCKETS],
}

impl Names {
    const BUCKETS: usize = 256;
    const EMPTY: u8 = u8::MAX;

    fn new(names: Vec<String>) -> PyResult<Self> {
        if names.len() >= Self::BUCKETS / 2 {
            return Err(pyo3::exceptions::PyValueError::new_err("too many members in one contract"));
        }
        let names: Vec<Box<[u8]>> = names.into_iter().map(|name| name.into_bytes().into()).collect();
        let mut table = [Self::EMPTY; Self::BUCKETS];
        for (index, name) in names.iter().enumerate() {
            let mut bucket = Self::bucket(name);
            while table[bucket] != Self::EMPTY {
                bucket = (bucket + 1) % Self::BUCKETS;
            }
            table[bucket] = index as u8;
        }
        Ok(Names { names, table })
    }

    fn bucket(name: &[u8]) -> usize {
        let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or(0));
        let length = name.len();
        (length.wrapping_mul(37) + byte(0) * 5 + byte(length / 2) * 11 + byte(length.wrapping_sub(1)) * 17)
            % Self::BUCKETS
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let mut bucket = Self::bucket(name);
        loop {
            let index = usize::from(*self.names_index(bucket)?);
            if *self.names[index] == *name {
                return Some(index);
            }
            bucket = (bucket + 1) % Self::BUCKETS;
        }
    }

    fn names_index(&self, bucket: usize) -> Option<&u8> {
        Some(&self.table[bucket]).filter(|&&index| index != Self::EMPTY)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    EventId,
    Boolean,
    Int,
    Long,
    Time,
    Amount,
    Texts,
}

enum Form {
    Scalar(Kind),
    Records(Box<Record>),
}

struct Field {
    form: Form,
    is_nullable: bool,
    /// Maximum bytes of its texts.
    max_bytes: usize,
    /// Places in the holder's names, in order of preference.
    sources: Vec<usize>,
}

/// A record's fields in schema order. Names of envelope and payload, or of an array's item, share one numbering.
struct Record {
    names: Names,
    payload_names: Option<Names>,
    fields: Vec<Field>,
    /// One bit per place of a member that may occur again with another value.
    may_repeat: u128,
}

/// `(kind, is_nullable, sources, plan of items, maximum bytes of a text)` and
/// `(names, payload names, fields, may_repeat)` from `runtime.events.event_reader`.
#[derive(FromPyObject)]
struct FieldPlan(String, bool, Vec<usize>, Vec<RecordPlan>, Option<usize>);
#[derive(FromPyObject)]
struct RecordPlan(Vec<String>, Option<Vec<String>>, Vec<FieldPlan>, u128);

impl Record {
    fn new(plan: RecordPlan) -> PyResult<Self> {
        let RecordPlan(names, payload_names, fields, may_repeat) = plan;
        Ok(Record {
            names: Names::new(names)?,
            payload_names: payload_names.map(Names::new).transpose()?,
            fields: fields.into_iter().map(Field::new).collect::<PyResult<_>>()?,
            may_repeat,
        })
    }

    fn width(&self) -> usize {
        self.names.names.len() + self.payload_names.as_ref().map_or(0, |names| names.names.len())
    }

    fn write(&self, members: &[Value], out: &mut Vec<u8>) -> Option<()> {
        for field in &self.fields {
            field.write(members, out)?;
        }
        Some(())
    }
}

impl Field {
    fn new(plan: FieldPlan) -> PyResult<Self> {
        let FieldPlan(kind, is_nullable, sources, mut items, max_bytes) = plan;
        let form = match (kind.as_str(), items.pop()) {
            ("RECORDS", Some(items)) => Form::Records(Box::new(Record::new(items)?)),
            ("STRING", None) => Form::Scalar(Kind::Text),
            ("EVENT_ID", None) => Form::Scalar(Kind::EventId),
            ("BOOLEAN", None) => Form::Scalar(Kind::Boolean),
            ("INT", None) => Form::Scalar(Kind::Int),
            ("LONG", None) => Form::Scalar(Kind::Long),
            ("TIME", None) => Form::Scalar(Kind::Time),
            ("AMOUNT", None) => Form::Scalar(Kind::Amount),
            ("STRINGS", None) => Form::Scalar(Kind::Texts),
            _ => return Err(pyo3::exceptions::PyValueError::new_err(format!("no field of kind {kind}"))),
        };
        Ok(Field { form, is_nullable, max_bytes: max_bytes.unwrap_or(usize::MAX), sources })
    }

    /// Declines if two sources have a value: the Python path compares them.
    fn write(&self, members: &[Value], out: &mut Vec<u8>) -> Option<()> {
        let mut values = self.sources.iter().map(|&at| members[at]).filter(|value| !matches!(value, Value::Null));
        let Some(value) = values.next() else {
            out.push(NULL);
            return self.is_nullable.then_some(());
        };
        if values.next().is_some() {
            return None;
        }
        if self.is_nullable {
            out.push(SOME);
        }
        match &self.form {
            Form::Scalar(kind) => write_scalar(*kind, value, self.max_bytes, out),
            Form::Records(record) => write_records(record, value, out),
        }
    }
}

/// Declines a text of more than `max_bytes`.
fn write_scalar(kind: Kind, value: Value, max_bytes: usize, out: &mut Vec<u8>) -> Option<()> {
    let bounded = |bytes: &[u8]| (bytes.len() <= max_bytes).then_some(());
    match (kind, value) {
        (Kind::Text, Value::Text(text)) => match text.plain() {
            Some(bytes) => {
                bounded(bytes)?;
                write_bytes(out, bytes);
            }
            None => {
                let mut bytes = Vec::with_capacity(text.raw.len());
                unescape(text.raw, &mut bytes)?;
                bounded(&bytes)?;
                write_bytes(out, &bytes);
            }
        },
        (Kind::EventId, Value::Text(text)) => {
            let id = text.plain().filter(|id| !id.is_empty())?;
            bounded(id)?;
            write_bytes(out, id);
        }
        (Kind::Boolean, Value::Bool(is_true)) => out.push(u8::from(is_true)),
        (Kind::Int, Value::Number(literal)) => write_long(out, i64::from(integer::<i32>(literal)?)),
        (Kind::Long, Value::Number(literal)) => write_long(out, integer(literal)?),
        (Kind::Time, Value::Text(text)) => write_long(out, time(text.plain()?)?),
        (Kind::Amount, Value::Text(text)) => write_decimal(out, amount(text.plain()?)?),
        (Kind::Amount, Value::Number(literal)) => write_decimal(out, amount(literal)?),
        (Kind::Texts, Value::Array(items)) => {
            write_array(items, out, |item, out| write_scalar(Kind::Text, item, max_bytes, out))?;
        }
        _ => return None,
    }
    Some(())
}

fn write_records(record: &Record, value: Value, out: &mut Vec<u8>) -> Option<()> {
    let Value::Array(items) = value else {
        return None;
    };
    write_array(items, out, |item, out| {
        let Value::Object(object) = item else {
            return None;
        };
        let mut members = Members::new(record.width());
        let mut cursor = Cursor::new(object);
        cursor.members(|name, value| members.put(record.names.find(name)?, value, record.may_repeat))?;
        (cursor.is_at_end() && members.hidden == 0).then_some(())?;
        record.write(&members.values, out)
    })
}

fn write_array<'a>(
    text: &'a [u8],
    out: &mut Vec<u8>,
    mut write: impl FnMut(Value<'a>, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let mut items = Vec::new();
    let mut cursor = Cursor::new(text);
    cursor.items(|item| {
        items.push(item);
        Some(())
    })?;
    cursor.is_at_end().then_some(())?;
    if !items.is_empty() {
        write_length(out, items.len());
        for item in items {
            write(item, out)?;
        }
    }
    out.push(NULL);
    Some(())
}

fn integer<T: std::str::FromStr>(literal: &[u8]) -> Option<T> {
    std::str::from_utf8(literal).ok()?.parse().ok()
}

/// Values of an object's members by place, null if absent. The last of repeated members wins.
struct Members<'a> {
    values: Vec<Value<'a>>,
    seen: u128,
    hidden: usize,
}

impl<'a> Members<'a> {
    fn new(width: usize) -> Self {
        Members { values: vec![Value::Null; width], seen: 0, hidden: 0 }
    }

    /// Declines to overwrite a different value, except at places in `may_repeat`, and unvalidated values.
    fn put(&mut self, place: usize, value: Value<'a>, may_repeat: u128) -> Option<()> {
        let bit = 1u128.checked_shl(place as u32)?;
        if self.seen & bit != 0 {
            self.hidden += 1;
            let is_same = match (self.values[place], value) {
                (Value::Text(before), Value::Text(text)) => before.plain()? == text.plain()?,
                (Value::Number(before), Value::Number(literal)) => before == literal,
                (Value::Bool(before), Value::Bool(is_true)) => before == is_true,
                (Value::Null, Value::Null) => true,
                _ => return None,
            };
            (is_same || may_repeat & bit != 0).then_some(())?;
        }
        self.seen |= bit;
        self.values[place] = value;
        Some(())
    }
}

/// Members that no field reads, as JSON Pointer of the holder, name and value.
struct Extra<'a>(Vec<(&'static str, &'a [u8], Value<'a>)>);

impl<'a> Extra<'a> {
    /// Maximum number of members: comparing each with each takes quadratic time.
    const MOST: usize = 32;

    fn put(&mut self, holder: &'static str, name: &'a [u8], value: Value<'a>) -> Option<()> {
        let is_known = self.0.iter().any(|(other_holder, other, _)| *other_holder == holder && *other == name);
        if is_known || self.0.len() == Self::MOST {
            return None;
        }
        self.0.push((holder, name, value));
        Some(())
    }

    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        if !self.0.is_empty() {
            write_length(out, self.0.len());
            for (holder, name, value) in &self.0 {
                let mut pointer = Vec::from(holder.as_bytes());
                pointer.push(b'/');
                for &byte in *name {
                    match byte {
                        b'~' => pointer.extend_from_slice(b"~0"),
                        b'/' => pointer.extend_from_slice(b"~1"),
                        _ => pointer.push(byte),
                    }
                }
                write_bytes(out, &pointer);
                match value {
                    Value::Null => write_bytes(out, b"null"),
                    Value::Bool(true) => write_bytes(out, b"true"),
                    Value::Bool(false) => write_bytes(out, b"false"),
                    Value::Number(literal) => write_bytes(out, literal),
                    Value::Text(text) => write_bytes(out, &[b"\"", text.plain()?, b"\""].concat()),
                    Value::Array(_) | Value::Object(_) => return None,
                }
            }
        }
        out.push(NULL);
        Some(())
    }
}

struct Route {
    number: usize,
    label: Py<PyAny>,
    event_type: Box<[u8]>,
    header: Vec<u8>,
    record: Record,
    /// Places of the members one of which must name the account.
    account: Vec<usize>,
}

/// biz_type, event_type, label to return, frame, plan of the record, `Route::account`.
#[derive(FromPyObject)]
struct RoutePlan(String, String, Py<PyAny>, Vec<u8>, RecordPlan, Vec<usize>);

/// A read event: route and id, number of overwritten repeated members, whether the envelope has trace context or says
/// that the event is simulated, whether a member names the account, and the body hash.
struct Found<'a, 'e> {
    route: &'a Route,
    id: &'e str,
    hidden: usize,
    traced: bool,
    simulated: bool,
    has_account: bool,
    body: i64,
}

/// Reads events of all contracts.
#[pyclass(frozen)]
pub struct EventReader {
    routes: HashMap<Vec<u8>, Route>,
    /// Number of overwritten repeated members of routed events so far.
    hidden: AtomicUsize,
}

#[pymethods]
impl EventReader {
    #[new]
    fn new(routes: Vec<RoutePlan>) -> PyResult<Self> {
        let routes = routes.into_iter().enumerate().map(|(number, plan)| {
            let RoutePlan(biz_type, event_type, label, header, plan, account) = plan;
            let event_type = event_type.into_bytes().into();
            Ok((
                biz_type.into_bytes(),
                Route { number, label, event_type, header, record: Record::new(plan)?, account },
            ))
        });
        Ok(EventReader { routes: routes.collect::<PyResult<_>>()?, hidden: AtomicUsize::new(0) })
    }

    /// Returns the route's label, the event's id, its framed record, the number of overwritten repeated members, whether
    /// the raw record may have headers to keep, and the body hash. None if the Python path must decide.
    fn read<'py>(&self, py: Python<'py>, value: Option<&[u8]>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut out = buffer(value);
        let Some(Found { route, id, hidden, traced, simulated, body, .. }) = self.write(value, &mut out, &mut 0) else {
            return Ok(None);
        };
        let read = (&route.label, id, PyBytes::new(py, &out), hidden, traced || simulated, body);
        Ok(Some(read.into_pyobject(py)?.into_any()))
    }

    /// Returns the route's label, the framed record, and whether the raw record may have headers to keep. A duplicate has
    /// no record. If the Python path must decide (also for an id conflict, no key, too large), returns the number of valid
    /// leading fields.
    fn route<'py>(
        &self,
        py: Python<'py>,
        value: Option<&[u8]>,
        key: Option<&[u8]>,
        mut window: PyRefMut<'py, DuplicateWindow>,
        size_limit: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (mut out, mut right) = (buffer(value), 0);
        let Some(found) = self.write(value, &mut out, &mut right) else {
            return Ok(right.into_pyobject(py)?.into_any());
        };
        let Found { route, id, hidden, traced, simulated, has_account, body } = found;
        let id = window.hash(id);
        let known = window.body(id);
        if known == Some(body) {
            return Ok((&route.label, py.None(), false).into_pyobject(py)?.into_any());
        }
        let fits = |key: &[u8]| is_account_key(key) && out.len() + key.len() <= size_limit;
        if known.is_some() || !has_account || !key.is_some_and(fits) {
            return Ok(right.into_pyobject(py)?.into_any());
        }
        let routed = (&route.label, PyBytes::new(py, &out), traced || simulated).into_pyobject(py)?.into_any();
        window.remember(id, body);
        self.hidden.fetch_add(hidden, Ordering::Relaxed);
        Ok(routed)
    }

    /// Writes the typed records of `records`, from index `first` on, up to one that the Python path must decide.
    ///
    /// Returns the index of that one and, per route in the given order, the numbers of written records and of duplicates.
    /// Events with trace context take the Python path too, because their records have one more header.
    fn route_all(
        &self,
        records: &Records,
        first: usize,
        mut window: PyRefMut<'_, DuplicateWindow>,
        size_limit: usize,
        writer: &Writer,
    ) -> (usize, Vec<usize>, Vec<usize>) {
        let messages = records.messages();
        let (mut written, mut known) = (vec![0; self.routes.len()], vec![0; self.routes.len()]);
        let mut out = Vec::with_capacity(1024);
        let mut next = first;
        while let Some(message) = messages.get(next).filter(|message| writer.takes(message)) {
            out.clear();
            let Some(found) = self.write(message.value(), &mut out, &mut 0) else {
                break;
            };
            let Found { route, id, hidden, traced, simulated, has_account, body } = found;
            let id = window.hash(id);
            match (window.body(id), message.key()) {
                (Some(other), _) if other == body => known[route.number] += 1,
                (None, Some(key))
                    if !traced && has_account && is_account_key(key) && out.len() + key.len() <= size_limit =>
                {
                    if !writer.write(route.number, key, &out, records.partition, message, simulated) {
                        break;
                    }
                    window.remember(id, body);
                    self.hidden.fetch_add(hidden, Ordering::Relaxed);
                    written[route.number] += 1;
                }
                _ => break,
            }
            next += 1;
        }
        (next, written, known)
    }

    #[getter]
    fn hidden(&self) -> usize {
        self.hidden.load(Ordering::Relaxed)
    }
}

/// See `runtime.events.account_key`.
fn is_account_key(key: &[u8]) -> bool {
    key.len() <= MAX_KEY_BYTES && std::str::from_utf8(key).is_ok()
}

fn buffer(value: Option<&[u8]>) -> Vec<u8> {
    Vec::with_capacity(value.map_or(0, |text| text.len() + 128))
}

impl EventReader {
    /// Writes the framed record of an event and counts its valid leading fields in `right`.
    fn write<'a, 'e>(&'a self, value: Option<&'e [u8]>, out: &mut Vec<u8>, right: &mut usize) -> Option<Found<'a, 'e>> {
        let text = value?;
        std::str::from_utf8(text).ok()?;
        let mut envelope = Vec::with_capacity(8);
        let mut payload = None;
        let mut cursor = Cursor::new(text);
        cursor.each_member(|cursor, name| {
            let name = name.plain()?;
            if name != b"payload" {
                envelope.push((name, cursor.value()?));
                return Some(());
            }
            let mut members = Vec::with_capacity(32);
            cursor.members(|name, value| {
                members.push((name, value));
                Some(())
            })?;
            payload.replace(members).is_none().then_some(())
        })?;
        cursor.is_at_end().then_some(())?;
        let payload = payload?;

        let route = self.routes.get(plain_text(&payload, b"biz_type")?)?;
        if *route.event_type != *plain_text(&envelope, b"event_type")? {
            return None;
        }
        let id = plain_text(&envelope, b"id").filter(|id| !id.is_empty())?;
        plain_text(&envelope, b"timestamp")?;

        let record = &route.record;
        let mut members = Members::new(record.width());
        let mut extra = Extra(Vec::new());
        let (mut traced, mut simulated) = (false, false);
        for &(name, value) in &envelope {
            match record.names.find(name) {
                Some(place) => members.put(place, value, record.may_repeat)?,
                None => {
                    traced |= name == b"traceparent";
                    simulated |= name == SIMULATED.to_bytes();
                    extra.put("", name, value)?;
                }
            }
        }
        let payload_names = record.payload_names.as_ref()?;
        for &(name, value) in &payload {
            match payload_names.find(name) {
                Some(place) => members.put(record.names.names.len() + place, value, record.may_repeat)?,
                None => extra.put("/payload", name, value)?,
            }
        }
        out.extend_from_slice(&route.header);
        for field in &record.fields {
            field.write(&members.values, out)?;
            *right += 1;
        }
        extra.write(out)?;
        let id = std::str::from_utf8(id).ok()?;
        let names_account = |&at: &usize| matches!(members.values[at], Value::Text(text) if !text.raw.is_empty());
        let has_account = route.account.iter().any(names_account);
        let (hidden, body) = (members.hidden, members_hash(&payload)?);
        Some(Found { route, id, hidden, traced, simulated, has_account, body })
    }
}

/// Returns the text of the only member with this name, if it has no escapes.
fn plain_text<'a>(members: &[(&'a [u8], Value<'a>)], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = members.iter().filter(|(other, _)| *other == name);
    match (found.next()?, found.next()) {
        ((_, Value::Text(text)), None) => text.plain(),
        _ => None,
    }
}
