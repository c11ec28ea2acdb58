//! Native paths between JSON, Python records and Avro, and from topic to topic (ADR 20).
//!
//! Native code handles the common case and declines anything else with `None`. Then the Python path returns a record or
//! reports the problem. So rules and messages are in Python only.

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
