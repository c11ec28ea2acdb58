//! The hash of an event's body; see `schemas.body_hash`.

use pyo3::prelude::*;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

const PAYLOAD: &[u8] = b"\"payload\"";

/// Of this process: the hash never leaves it.
static SECRET: OnceLock<RandomState> = OnceLock::new();

/// Of the JSON text from the payload on; of all of it where an escape before may have hidden the payload's name.
#[pyfunction]
pub fn body_hash(value: &[u8]) -> i64 {
    let start = value.windows(PAYLOAD.len()).position(|name| name == PAYLOAD).unwrap_or(0);
    let body = if value[..start].contains(&b'\\') { value } else { &value[start..] };
    SECRET.get_or_init(RandomState::new).hash_one(body) as i64
}
