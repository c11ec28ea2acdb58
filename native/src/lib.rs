//! The fast way between JSON, Python records and Avro, and past Python between topics.
//!
//! Everything here declines what is not plain sailing instead of judging it: Python then goes the plain way, which either
//! finds a record after all or says what is wrong, and where. So there is one place for rules and messages, and none of
//! it is here.

mod avro;
mod body;
mod document;
mod event;
mod json;
mod kafka;
mod raw;
mod record;
mod scalar;
mod window;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(body::body_hash, module)?)?;
    module.add_function(wrap_pyfunction!(document::parse_json, module)?)?;
    module.add_function(wrap_pyfunction!(raw::raw_record, module)?)?;
    module.add_function(wrap_pyfunction!(kafka::kafka_functions, module)?)?;
    module.add_function(wrap_pyfunction!(kafka::bind_kafka, module)?)?;
    module.add_class::<kafka::Client>()?;
    module.add_class::<kafka::Reader>()?;
    module.add_class::<kafka::Records>()?;
    module.add_class::<kafka::Record>()?;
    module.add_class::<kafka::Writer>()?;
    module.add_class::<event::EventReader>()?;
    module.add_class::<record::RecordCodec>()?;
    module.add_class::<window::DuplicateWindow>()
}
