//! Parses JSON text to Python objects, with numbers as written; see `runtime.events.lossless_json`.

use crate::json::{unescape, Cursor, Text, Value};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

/// Maximum nesting depth; deeper texts are declined.
const DEEPEST: usize = 64;

/// Returns the root. Declines unusual texts, such as objects with repeated names.
///
/// `number` converts a number's literal to an object.
#[pyfunction]
pub fn parse_json<'py>(value: &[u8], number: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>,)> {
    std::str::from_utf8(value).ok()?;
    let mut cursor = Cursor::new(value);
    let root = Document { number }.read(&mut cursor, 0)?;
    cursor.is_at_end().then_some((root,))
}

struct Document<'a, 'py> {
    number: &'a Bound<'py, PyAny>,
}

impl<'py> Document<'_, 'py> {
    fn read(&self, cursor: &mut Cursor, depth: usize) -> Option<Bound<'py, PyAny>> {
        let py = self.number.py();
        if depth > DEEPEST {
            return None;
        }
        match cursor.first_byte()? {
            b'{' => {
                let (members, mut count) = (PyDict::new(py), 0);
                cursor.each_member(|cursor, name| {
                    count += 1;
                    members.set_item(text(py, name)?, self.read(cursor, depth + 1)?).ok()
                })?;
                (members.len() == count).then_some(members.into_any())
            }
            b'[' => {
                let items = PyList::empty(py);
                cursor.each_item(|cursor| items.append(self.read(cursor, depth + 1)?).ok())?;
                Some(items.into_any())
            }
            _ => match cursor.value()? {
                Value::Text(found) => Some(text(py, found)?.into_any()),
                Value::Number(literal) => self.number.call1((std::str::from_utf8(literal).ok()?,)).ok(),
                Value::Bool(is_true) => Some(is_true.into_pyobject(py).ok()?.to_owned().into_any()),
                Value::Null => Some(py.None().into_bound(py)),
                Value::Array(_) | Value::Object(_) => None,
            },
        }
    }
}

fn text<'py>(py: Python<'py>, text: Text) -> Option<Bound<'py, PyString>> {
    if let Some(plain) = text.plain() {
        return Some(PyString::new(py, std::str::from_utf8(plain).ok()?));
    }
    let mut bytes = Vec::with_capacity(text.raw.len());
    unescape(text.raw, &mut bytes)?;
    Some(PyString::new(py, std::str::from_utf8(&bytes).ok()?))
}
