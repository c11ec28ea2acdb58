//! Recently typed events of a partition; see `runtime.events.duplicate_window`.
//!
//! Each id is stored as two 64-bit hashes under secrets of this process; ADR 7 gives the collision probability.
//! Storing the id itself would need one allocation per event, the largest cost here.

use pyo3::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::mem::swap;

type Generation = HashMap<u128, i64, BuildHasherDefault<Hashed>>;

#[pyclass]
pub struct DuplicateWindow {
    size: usize,
    secrets: (RandomState, RandomState),
    young: Generation,
    old: Generation,
}

#[pymethods]
impl DuplicateWindow {
    #[new]
    fn new(size: usize) -> Self {
        let secrets = (RandomState::new(), RandomState::new());
        DuplicateWindow { size, secrets, young: Generation::default(), old: Generation::default() }
    }

    #[pyo3(name = "body")]
    fn body_of(&self, event_id: &str) -> Option<i64> {
        self.body(self.hash(event_id))
    }

    #[pyo3(name = "remember")]
    fn remember_id(&mut self, event_id: &str, body: i64) {
        self.remember(self.hash(event_id), body);
    }

    fn __len__(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl DuplicateWindow {
    pub fn hash(&self, event_id: &str) -> u128 {
        let half = |secret: &RandomState| u128::from(secret.hash_one(event_id));
        half(&self.secrets.0) << 64 | half(&self.secrets.1)
    }

    pub fn body(&self, event_id: u128) -> Option<i64> {
        self.young.get(&event_id).or_else(|| self.old.get(&event_id)).copied()
    }

    pub fn remember(&mut self, event_id: u128, body: i64) {
        if self.young.len() >= self.size {
            swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        if self.size > 0 {
            self.young.insert(event_id, body);
        }
    }
}

/// Hasher for keys that are hashes already: it uses half of the key.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("all keys are u128");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
