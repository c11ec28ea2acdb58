//! Encodes and decodes records of one schema, in storage form.
//!
//! Supports strings, bytes, ints, booleans, nullables, arrays and maps.

use crate::avro::{write_bytes, write_length, write_long, Reader, NULL, SOME};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString};
use std::collections::HashMap;

enum Shape {
    Text,
    Bytes,
    Int,
    Long,
    Boolean,
    Nullable(Box<Shape>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Record(Fields),
}

type Named<'py> = HashMap<String, Bound<'py, PyAny>>;

struct Fields {
    shapes: Vec<(Py<PyString>, Shape)>,
    /// All names in order with value None. Copying it creates a dict of the right size.
    template: Py<PyDict>,
}

impl Shape {
    /// Reads a parsed storage schema (`schemas.storage_schema`). Raises ValueError for unsupported types.
    ///
    /// `named`: records defined so far. Schemas refer to them by name from their second use on.
    fn new<'py>(schema: &Bound<'py, PyAny>, named: &mut Named<'py>) -> PyResult<Self> {
        if let Ok(name) = schema.cast::<PyString>() {
            return match name.to_str()? {
                "string" => Ok(Shape::Text),
                "bytes" => Ok(Shape::Bytes),
                "int" => Ok(Shape::Int),
                "long" => Ok(Shape::Long),
                "boolean" => Ok(Shape::Boolean),
                other => match named.get(other).cloned() {
                    Some(fields) => Fields::new(&fields, named).map(Shape::Record),
                    None => Err(PyValueError::new_err(format!("unsupported type {other}"))),
                },
            };
        }
        if let Ok(branches) = schema.cast::<PyList>() {
            if branches.len() == 2 && branches.get_item(0)?.eq("null")? {
                return Ok(Shape::Nullable(Box::new(Shape::new(&branches.get_item(1)?, named)?)));
            }
            return Err(PyValueError::new_err("unsupported union: only null with one type"));
        }
        match schema.get_item("type")?.extract::<String>()?.as_str() {
            "array" => Ok(Shape::Array(Box::new(Shape::new(&schema.get_item("items")?, named)?))),
            "map" => Ok(Shape::Map(Box::new(Shape::new(&schema.get_item("values")?, named)?))),
            "record" => {
                let fields = schema.get_item("fields")?;
                let shape = Fields::new(&fields, named).map(Shape::Record)?;
                named.insert(schema.get_item("name")?.extract()?, fields);
                Ok(shape)
            }
            other => Err(PyValueError::new_err(format!("unsupported type {other}"))),
        }
    }

    /// Appends the value's bytes. Raises for a value that does not match this shape exactly.
    fn write(&self, value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
        match self {
            Shape::Text => write_bytes(out, value.cast::<PyString>()?.to_str()?.as_bytes()),
            Shape::Bytes => write_bytes(out, value.cast::<PyBytes>()?.as_bytes()),
            Shape::Int => write_long(out, i64::from(value.cast_exact::<PyInt>()?.extract::<i32>()?)),
            Shape::Long => write_long(out, value.cast_exact::<PyInt>()?.extract()?),
            Shape::Boolean => out.push(u8::from(value.cast::<PyBool>()?.is_true())),
            Shape::Nullable(_) if value.is_none() => out.push(NULL),
            Shape::Nullable(branch) => {
                out.push(SOME);
                branch.write(value, out)?;
            }
            Shape::Array(item) => {
                let items = value.cast::<PyList>()?;
                if !items.is_empty() {
                    write_length(out, items.len());
                    for value in items {
                        item.write(&value, out)?;
                    }
                }
                out.push(NULL);
            }
            Shape::Map(entry) => {
                let entries = value.cast::<PyDict>()?;
                if !entries.is_empty() {
                    write_length(out, entries.len());
                    for (key, value) in entries {
                        Shape::Text.write(&key, out)?;
                        entry.write(&value, out)?;
                    }
                }
                out.push(NULL);
            }
            Shape::Record(fields) => {
                let record = value.cast::<PyDict>()?;
                for (name, shape) in &fields.shapes {
                    let Some(value) = record.get_item(name)? else {
                        return Err(PyValueError::new_err("a field is missing"));
                    };
                    shape.write(&value, out)?;
                }
            }
        }
        Ok(())
    }

    fn read<'py>(&self, py: Python<'py>, body: &mut Reader) -> Option<Bound<'py, PyAny>> {
        Some(match self {
            Shape::Text => PyString::new(py, body.text()?).into_any(),
            Shape::Bytes => PyBytes::new(py, body.bytes()?).into_any(),
            Shape::Int => i32::try_from(body.long()?).ok()?.into_pyobject(py).ok()?.into_any(),
            Shape::Long => body.long()?.into_pyobject(py).ok()?.into_any(),
            Shape::Boolean => match body.byte()? {
                0 => PyBool::new(py, false).to_owned().into_any(),
                1 => PyBool::new(py, true).to_owned().into_any(),
                _ => return None,
            },
            Shape::Nullable(branch) => match body.byte()? {
                NULL => py.None().into_bound(py),
                SOME => branch.read(py, body)?,
                _ => return None,
            },
            Shape::Array(item) => {
                let items = PyList::empty(py);
                loop {
                    let count = body.length()?;
                    if count == 0 {
                        break items.into_any();
                    }
                    for _ in 0..count {
                        items.append(item.read(py, body)?).ok()?;
                    }
                }
            }
            Shape::Map(entry) => {
                let entries = PyDict::new(py);
                loop {
                    let count = body.length()?;
                    if count == 0 {
                        break entries.into_any();
                    }
                    for _ in 0..count {
                        let key = body.text()?;
                        entries.set_item(key, entry.read(py, body)?).ok()?;
                    }
                }
            }
            Shape::Record(fields) => {
                let record = fields.template.bind(py).copy().ok()?;
                for (name, shape) in &fields.shapes {
                    let value = shape.read(py, body)?;
                    if !value.is_none() {
                        record.set_item(name, value).ok()?;
                    }
                }
                record.into_any()
            }
        })
    }

    /// Moves behind the value without creating it. `None` where `read` returns `None`.
    fn skip(&self, body: &mut Reader) -> Option<()> {
        match self {
            Shape::Text => body.text().map(drop),
            Shape::Bytes => body.bytes().map(drop),
            Shape::Int => i32::try_from(body.long()?).ok().map(drop),
            Shape::Long => body.long().map(drop),
            Shape::Boolean => (body.byte()? <= 1).then_some(()),
            Shape::Nullable(branch) => match body.byte()? {
                NULL => Some(()),
                SOME => branch.skip(body),
                _ => None,
            },
            Shape::Array(item) => Shape::skip_blocks(body, |body| item.skip(body)),
            Shape::Map(entry) => Shape::skip_blocks(body, |body| {
                body.text()?;
                entry.skip(body)
            }),
            Shape::Record(fields) => fields.shapes.iter().try_for_each(|(_, shape)| shape.skip(body)),
        }
    }

    fn skip_blocks(body: &mut Reader, mut item: impl FnMut(&mut Reader) -> Option<()>) -> Option<()> {
        loop {
            let count = body.length()?;
            if count == 0 {
                return Some(());
            }
            for _ in 0..count {
                item(body)?;
            }
        }
    }
}

impl Fields {
    fn new<'py>(fields: &Bound<'py, PyAny>, named: &mut Named<'py>) -> PyResult<Self> {
        let py = fields.py();
        let template = PyDict::new(py);
        let mut shapes = Vec::new();
        for field in fields.try_iter()? {
            let field = field?;
            let name = PyString::intern(py, field.get_item("name")?.cast::<PyString>()?.to_str()?);
            template.set_item(&name, py.None())?;
            shapes.push((name.unbind(), Shape::new(&field.get_item("type")?, named)?));
        }
        Ok(Fields { shapes, template: template.unbind() })
    }
}

/// Encodes and decodes records of one storage schema.
#[pyclass(frozen)]
pub struct RecordCodec {
    shape: Shape,
    frame: Vec<u8>,
}

#[pymethods]
impl RecordCodec {
    /// `frame`: bytes before the body of every record.
    #[new]
    fn new(schema: &Bound<'_, PyAny>, frame: Vec<u8>) -> PyResult<Self> {
        Ok(RecordCodec { shape: Shape::new(schema, &mut Named::new())?, frame })
    }

    /// Returns the framed record. Raises any exception for a record that does not match the schema exactly.
    fn encode<'py>(&self, record: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&self.frame);
        self.shape.write(record, &mut out)?;
        Ok(PyBytes::new(record.py(), &out))
    }

    /// Returns the record of a value with this frame, None for any other value.
    fn decode<'py>(&self, py: Python<'py>, value: &[u8]) -> Option<Bound<'py, PyAny>> {
        let mut body = Reader::new(value.strip_prefix(self.frame.as_slice())?);
        let record = self.shape.read(py, &mut body)?;
        body.is_at_end().then_some(record)
    }

    /// Returns the values' bodies one after another, without their frames. None if one has another frame, does not match
    /// the schema, or does not end where its body ends.
    fn bodies<'py>(&self, py: Python<'py>, values: &Bound<'py, PyList>) -> Option<Bound<'py, PyBytes>> {
        let mut out = Vec::new();
        for value in values {
            let framed = value.cast::<PyBytes>().ok()?.as_bytes();
            let rest = framed.strip_prefix(self.frame.as_slice())?;
            let mut body = Reader::new(rest);
            self.shape.skip(&mut body)?;
            if !body.is_at_end() {
                return None;
            }
            out.extend_from_slice(rest);
        }
        Some(PyBytes::new(py, &out))
    }
}
