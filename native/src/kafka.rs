//! librdkafka's C API: reads and writes records without a Python object for each.
//!
//! The functions are those of the librdkafka that the Python client has loaded. The Python client also makes the clients,
//! joins groups and runs transactions; only records pass through this module. This file is a plugin of each client
//! (librdkafka's interceptors), so librdkafka passes the new client's handle to `on_new`.
//!
//! This is the only unsafe code. Its invariants: a client lives as long as its Python object, which `Client` holds.
//! `Reader::close` is called before the Python client closes, because librdkafka's close waits without limit for records
//! that were not released. An event lives, with its message, until this module destroys it, once.
#![allow(unsafe_code)]

use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut};
use std::slice::from_raw_parts;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

type Handle = *mut c_void;

/// rd_kafka_message_t
#[repr(C)]
struct Message {
    error: c_int,
    topic: *const c_void,
    partition: i32,
    value: *const u8,
    value_size: usize,
    key: *const u8,
    key_size: usize,
    offset: i64,
    _private: *mut c_void,
}

/// The beginning of rd_kafka_topic_partition_t
#[repr(C)]
struct TopicPartition {
    topic: *const c_char,
    partition: i32,
    offset: i64,
}

type OnNew = unsafe extern "C" fn(Handle, *const c_void, *mut c_void, *mut c_char, usize) -> c_int;

macro_rules! functions {
    ($($name:ident: $type:ty,)*) => {
        struct Functions { $($name: $type,)* }

        impl Functions {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            fn new(addresses: &HashMap<String, usize>) -> Option<Self> {
                // SAFETY: the addresses are those of the functions of these names, of librdkafka 2.
                Some(Functions { $($name: unsafe {
                    std::mem::transmute::<usize, $type>(*addresses.get(stringify!($name)).filter(|&&address| address != 0)?)
                },)* })
            }
        }
    };
}

functions! {
    rd_kafka_conf_interceptor_add_on_new: unsafe extern "C" fn(*mut c_void, *const c_char, OnNew, *mut c_void) -> c_int,
    rd_kafka_queue_new: unsafe extern "C" fn(Handle) -> *mut c_void,
    rd_kafka_queue_get_partition: unsafe extern "C" fn(Handle, *const c_char, i32) -> *mut c_void,
    rd_kafka_queue_forward: unsafe extern "C" fn(*mut c_void, *mut c_void),
    rd_kafka_queue_destroy: unsafe extern "C" fn(*mut c_void),
    rd_kafka_queue_poll: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    rd_kafka_event_type: unsafe extern "C" fn(*const c_void) -> c_int,
    rd_kafka_event_destroy: unsafe extern "C" fn(*mut c_void),
    rd_kafka_event_message_next: unsafe extern "C" fn(*mut c_void) -> *const Message,
    rd_kafka_event_error: unsafe extern "C" fn(*mut c_void) -> c_int,
    rd_kafka_event_error_string: unsafe extern "C" fn(*mut c_void) -> *const c_char,
    rd_kafka_event_topic_partition: unsafe extern "C" fn(*mut c_void) -> *mut TopicPartition,
    rd_kafka_topic_partition_destroy: unsafe extern "C" fn(*mut TopicPartition),
    rd_kafka_message_timestamp: unsafe extern "C" fn(*const Message, *mut c_int) -> i64,
    rd_kafka_message_headers: unsafe extern "C" fn(*const Message, *mut *mut c_void) -> c_int,
    rd_kafka_header_get_all: unsafe extern "C" fn(*const c_void, usize, *mut *const c_char, *mut *const u8, *mut usize) -> c_int,
    rd_kafka_topic_name: unsafe extern "C" fn(*const c_void) -> *const c_char,
    rd_kafka_producev: unsafe extern "C" fn(Handle, ...) -> c_int,
}

// rd_kafka_vtype_t, and the flag by which a produced value is copied
const END: c_int = 0;
const TOPIC: c_int = 1;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const TIMESTAMP: c_int = 8;
const HEADER: c_int = 9;
const COPY: c_int = 2;
const NO_ERROR: c_int = 0;

/// See `schemas.headers`; the header's value is `true`.
pub const SIMULATED: &CStr = c"simulated";
// rd_kafka_event_type_t
const EVENT_FETCH: c_int = 2;
const EVENT_ERROR: c_int = 8;

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

thread_local! {
    static NEWEST: Cell<Handle> = const { Cell::new(null_mut()) };
}

fn kafka() -> PyResult<&'static Functions> {
    FUNCTIONS.get().ok_or_else(|| PyRuntimeError::new_err("call bind_kafka first"))
}

/// The names of the functions that `bind_kafka` requires.
#[pyfunction]
pub fn kafka_functions() -> Vec<&'static str> {
    Functions::NAMES.to_vec()
}

/// Use the functions at these addresses. Raises ValueError if one is missing.
#[pyfunction]
pub fn bind_kafka(addresses: HashMap<String, usize>) -> PyResult<()> {
    let functions = Functions::new(&addresses).ok_or_else(|| PyValueError::new_err("a function is missing"))?;
    FUNCTIONS.get_or_init(|| functions);
    Ok(())
}

/// librdkafka calls this if a configuration names this file as a plugin.
///
/// # Safety
/// `conf` is a rd_kafka_conf_t.
#[no_mangle]
pub unsafe extern "C" fn conf_init(conf: *mut c_void, _: *mut *mut c_void, _: *mut c_char, _: usize) -> c_int {
    match FUNCTIONS.get() {
        Some(kafka) => {
            (kafka.rd_kafka_conf_interceptor_add_on_new)(conf, c"broker-events".as_ptr(), on_new, null_mut())
        }
        None => NO_ERROR,
    }
}

unsafe extern "C" fn on_new(client: Handle, _: *const c_void, _: *mut c_void, _: *mut c_char, _: usize) -> c_int {
    NEWEST.set(client);
    NO_ERROR
}

/// A client, queue, event or message of librdkafka.
#[derive(Clone, Copy)]
struct Shared(*mut c_void);
// SAFETY: librdkafka locks its clients and queues itself. A Mutex (`Records`) guards an event and its message.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

/// A client that the Python client has made.
#[pyclass(frozen)]
pub struct Client {
    handle: Shared,
    _made: Py<PyAny>,
}

#[pymethods]
impl Client {
    /// Make a client of the Python client's class `kind`. Raises what that raises, and RuntimeError where its configuration
    /// doesn't name this file as a plugin.
    #[staticmethod]
    fn make<'py>(kind: &Bound<'py, PyAny>, config: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Self)> {
        NEWEST.set(null_mut());
        let made = kind.call1((config,))?;
        let handle = NEWEST.replace(null_mut());
        if handle.is_null() {
            return Err(PyRuntimeError::new_err("librdkafka did not call on_new: the plugin is not loaded"));
        }
        let client = Client { handle: Shared(handle), _made: made.clone().unbind() };
        Ok((made, client))
    }
}

/// A fetched record.
pub struct Owned {
    event: Shared,
    message: Shared,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(kafka) = FUNCTIONS.get() {
            // SAFETY: only this destroys it.
            unsafe { (kafka.rd_kafka_event_destroy)(self.event.0) }
        }
    }
}

impl Owned {
    fn message(&self) -> &Message {
        // SAFETY: it lives until this is dropped.
        unsafe { &*self.message.0.cast::<Message>() }
    }

    pub fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: it lives as long as the message.
        unsafe { bytes(message.value, message.value_size) }
    }

    pub fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: as above.
        unsafe { bytes(message.key, message.key_size) }
    }

    pub fn offset(&self) -> i64 {
        self.message().offset
    }

    fn timestamp(&self, kafka: &Functions) -> (c_int, i64) {
        let mut kind = 0;
        // SAFETY: both live.
        let at_ms = unsafe { (kafka.rd_kafka_message_timestamp)(self.message(), &mut kind) };
        (kind, at_ms)
    }

    fn topic(&self, kafka: &Functions) -> String {
        // SAFETY: every record has a topic, which lives as long as it.
        text(unsafe { (kafka.rd_kafka_topic_name)(self.message().topic) })
    }

    fn headers(&self, kafka: &Functions) -> Option<Vec<(String, Option<Vec<u8>>)>> {
        let mut headers = null_mut();
        // SAFETY: what the functions give belongs to the message, and is copied here.
        unsafe {
            if (kafka.rd_kafka_message_headers)(self.message(), &mut headers) != NO_ERROR {
                return None;
            }
            let mut found = Vec::new();
            let (mut name, mut value, mut size) = (null(), null(), 0);
            while (kafka.rd_kafka_header_get_all)(headers, found.len(), &mut name, &mut value, &mut size) == NO_ERROR {
                found.push((text(name), bytes(value, size).map(<[u8]>::to_vec)));
            }
            Some(found)
        }
    }
}

/// Bytes of librdkafka; None for a null pointer.
///
/// # Safety
/// Otherwise `size` bytes are there, unchanged for as long as the result lives.
unsafe fn bytes<'a>(pointer: *const u8, size: usize) -> Option<&'a [u8]> {
    (!pointer.is_null()).then(|| from_raw_parts(pointer, size))
}

/// A C string of librdkafka; empty for a null pointer.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka ends its strings with 0.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// The records of one partition, in offset order, until the next ones are read.
#[pyclass(frozen)]
pub struct Records {
    #[pyo3(get)]
    topic: String,
    #[pyo3(get)]
    pub partition: i32,
    /// Of the values.
    #[pyo3(get)]
    bytes: usize,
    messages: Mutex<Vec<Owned>>,
}

#[pymethods]
impl Records {
    fn __len__(&self) -> usize {
        self.messages().len()
    }

    /// Raises IndexError.
    fn __getitem__(this: &Bound<'_, Self>, index: isize) -> PyResult<Record> {
        let length = this.get().messages().len();
        let index = if index < 0 { index.checked_add_unsigned(length) } else { Some(index) };
        match index.and_then(|index| usize::try_from(index).ok()).filter(|&index| index < length) {
            Some(index) => Ok(Record { of: this.clone().unbind(), index }),
            None => Err(PyIndexError::new_err("no such record")),
        }
    }
}

impl Records {
    pub fn messages(&self) -> MutexGuard<'_, Vec<Owned>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Header<'py> = (String, Option<Bound<'py, PyBytes>>);

/// One record, with the methods of the Python client's message. They copy, and raise RuntimeError after its release.
#[pyclass(frozen)]
pub struct Record {
    of: Py<Records>,
    index: usize,
}

#[pymethods]
impl Record {
    fn __len__(&self) -> PyResult<usize> {
        self.look(|message| Ok(message.message().value_size))
    }

    fn topic(&self) -> &str {
        &self.of.get().topic
    }

    fn partition(&self) -> i32 {
        self.of.get().partition
    }

    fn offset(&self) -> PyResult<i64> {
        self.look(|message| Ok(message.offset()))
    }

    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.look(|message| Ok(message.key().map(|key| PyBytes::new(py, key))))
    }

    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.look(|message| Ok(message.value().map(|value| PyBytes::new(py, value))))
    }

    fn timestamp(&self) -> PyResult<(c_int, i64)> {
        self.look(|message| Ok(message.timestamp(kafka()?)))
    }

    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Option<Vec<Header<'py>>>> {
        let bytes = |value: Option<Vec<u8>>| value.map(|value| PyBytes::new(py, &value));
        let headers = self.look(|message| Ok(message.headers(kafka()?)))?;
        Ok(headers.map(|headers| headers.into_iter().map(|(name, value)| (name, bytes(value))).collect()))
    }
}

impl Record {
    fn look<T>(&self, at: impl FnOnce(&Owned) -> PyResult<T>) -> PyResult<T> {
        match self.of.get().messages().get(self.index) {
            Some(message) => at(message),
            None => Err(PyRuntimeError::new_err("record used after the next fetch released it")),
        }
    }
}

/// An end or error instead of a record: topic (may be empty), partition, offset, librdkafka's error code and text.
type Event = (String, i32, i64, c_int, String);

/// Reads partitions of a consumer by a queue of its own. Rebalances and errors of the group stay in the consumer's queue.
#[pyclass]
pub struct Reader {
    client: Py<Client>,
    /// None once it is closed.
    queue: Option<Shared>,
    last: Vec<Py<Records>>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(client: Py<Client>) -> PyResult<Self> {
        // SAFETY: the client lives.
        let queue = unsafe { (kafka()?.rd_kafka_queue_new)(client.get().handle.0) };
        Ok(Reader { client, queue: Some(Shared(queue)), last: Vec::new() })
    }

    /// Read this partition from its next assignment on, until that ends. Call it before each assignment: without it, a
    /// partition that was attached before delivers nothing.
    fn attach(&self, topic: &str, partition: i32) -> PyResult<()> {
        let (kafka, queue, topic) = (kafka()?, self.queue()?, CString::new(topic)?);
        // SAFETY: all of them live; forwarding keeps a reference to the queue.
        unsafe {
            let source = (kafka.rd_kafka_queue_get_partition)(self.client.get().handle.0, topic.as_ptr(), partition);
            if source.is_null() {
                return Err(PyValueError::new_err("not a consumer, or no such partition"));
            }
            (kafka.rd_kafka_queue_forward)(source, queue.0);
            (kafka.rd_kafka_queue_destroy)(source);
        }
        Ok(())
    }

    /// Wait for a first record, then read up to `most` records or `most_bytes` of values. With fewer than `few` records,
    /// wait `late_ms` for more.
    ///
    /// Returns records by partition, and events. Releases the records of the last call.
    #[pyo3(signature = (wait_ms, late_ms, *, few, most, most_bytes))]
    fn read(
        &mut self,
        py: Python<'_>,
        wait_ms: c_int,
        late_ms: u64,
        few: usize,
        most: usize,
        most_bytes: usize,
    ) -> PyResult<(Vec<Py<Records>>, Vec<Event>)> {
        self.release();
        let queue = self.queue()?;
        let mut fetch =
            Fetch { kafka: kafka()?, found: Vec::new(), events: Vec::new(), count: 0, bytes: 0, current: 0 };
        py.detach(|| {
            let is_full = |fetch: &Fetch, most| fetch.count >= most || fetch.bytes >= most_bytes;
            if !fetch.take(queue, wait_ms) {
                return;
            }
            while !is_full(&fetch, most) && fetch.take(queue, 0) {}
            let waits_until = Instant::now() + Duration::from_millis(late_ms);
            while !is_full(&fetch, few.min(most)) && Instant::now() < waits_until && fetch.take(queue, 1) {}
        });
        self.last = fetch.found.into_iter().map(|(_, records)| Py::new(py, records)).collect::<PyResult<_>>()?;
        Ok((self.last.iter().map(|records| records.clone_ref(py)).collect(), fetch.events))
    }

    /// Release all records. Call it before the client closes.
    fn close(&mut self) {
        self.release();
        if let (Some(queue), Some(kafka)) = (self.queue.take(), FUNCTIONS.get()) {
            // SAFETY: it is not used again.
            unsafe { (kafka.rd_kafka_queue_destroy)(queue.0) };
        }
    }
}

impl Reader {
    fn queue(&self) -> PyResult<Shared> {
        self.queue.ok_or_else(|| PyRuntimeError::new_err("this reader is closed"))
    }

    fn release(&mut self) {
        for records in self.last.drain(..) {
            records.get().messages().clear();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// What one `read` has found so far.
struct Fetch {
    kafka: &'static Functions,
    /// By the address of librdkafka's topic object, which is only compared.
    found: Vec<(usize, Records)>,
    events: Vec<Event>,
    count: usize,
    bytes: usize,
    /// Index in `found` of the last record's partition.
    current: usize,
}

impl Fetch {
    /// Take the next event, waiting up to `wait_ms`. False if none arrived.
    ///
    /// The message interface would pass errors to callbacks of the Python client, outside of that client's calls.
    fn take(&mut self, queue: Shared, wait_ms: c_int) -> bool {
        let kafka = self.kafka;
        // SAFETY: the queue lives; the event is destroyed here, or with the record that owns it.
        unsafe {
            let event = (kafka.rd_kafka_queue_poll)(queue.0, wait_ms);
            if event.is_null() {
                return false;
            }
            if (kafka.rd_kafka_event_type)(event) == EVENT_FETCH {
                let message = (kafka.rd_kafka_event_message_next)(event);
                if !message.is_null() {
                    self.add(Owned { event: Shared(event), message: Shared(message.cast_mut().cast()) });
                    return true;
                }
            }
            if (kafka.rd_kafka_event_type)(event) == EVENT_ERROR {
                self.events.push(error(kafka, event));
            }
            (kafka.rd_kafka_event_destroy)(event);
        }
        true
    }

    fn add(&mut self, record: Owned) {
        let message = record.message();
        let (topic, partition, size) = (message.topic as usize, message.partition, message.value_size);
        let is_of = |(other, records): &(usize, Records)| *other == topic && records.partition == partition;
        if !self.found.get(self.current).is_some_and(is_of) {
            self.current = self.found.iter().position(is_of).unwrap_or(self.found.len());
        }
        if self.current == self.found.len() {
            let messages = Mutex::new(Vec::with_capacity(256));
            self.found.push((topic, Records { topic: record.topic(self.kafka), partition, bytes: 0, messages }));
        }
        let records = &mut self.found[self.current].1;
        self.count += 1;
        self.bytes += size;
        records.bytes += size;
        records.messages.get_mut().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

/// # Safety
/// `event` is an error event.
unsafe fn error(kafka: &Functions, event: *mut c_void) -> Event {
    let (code, message) = ((kafka.rd_kafka_event_error)(event), text((kafka.rd_kafka_event_error_string)(event)));
    let at = (kafka.rd_kafka_event_topic_partition)(event);
    if at.is_null() {
        return (String::new(), -1, -1, code, message);
    }
    let found = (text((*at).topic), (*at).partition, (*at).offset, code, message);
    (kafka.rd_kafka_topic_partition_destroy)(at);
    found
}

/// Adds records to a producer's open transaction.
#[pyclass(frozen)]
pub struct Writer {
    client: Py<Client>,
    topics: Vec<CString>,
    offset_header: CString,
}

#[pymethods]
impl Writer {
    /// `topics`: by index; `offset_header`: name of the header with the source record's offset.
    #[new]
    fn new(client: Py<Client>, topics: Vec<String>, offset_header: String) -> PyResult<Self> {
        let topics = topics.into_iter().map(CString::new).collect::<Result<_, _>>()?;
        Ok(Writer { client, topics, offset_header: CString::new(offset_header)? })
    }
}

impl Writer {
    /// Whether the record has a time. librdkafka would replace 0 by the current time.
    pub fn takes(&self, source: &Owned) -> bool {
        FUNCTIONS.get().is_some_and(|kafka| source.timestamp(kafka).1 > 0)
    }

    /// Produce a record with the partition and time of `source`. False if librdkafka rejects it, or if `source` has
    /// headers that the Python path must judge.
    ///
    /// `may_be_simulated`: the record keeps the header that says so, if `source` has it. Reading headers takes time.
    pub fn write(
        &self,
        topic: usize,
        key: &[u8],
        value: &[u8],
        partition: i32,
        source: &Owned,
        may_be_simulated: bool,
    ) -> bool {
        let (Some(topic), Some(kafka)) = (self.topics.get(topic), FUNCTIONS.get()) else {
            return false;
        };
        let (offset, (_, at_ms)) = (source.offset().to_string(), source.timestamp(kafka));
        let headers = if may_be_simulated { source.headers(kafka).unwrap_or_default() } else { Vec::new() };
        if headers.iter().any(|(name, _)| name == "traceparent") {
            return false;
        }
        let is_simulated = headers.iter().any(|(name, _)| name.as_bytes() == SIMULATED.to_bytes());
        let last = if is_simulated { HEADER } else { END };
        // SAFETY: each tag is followed by its arguments, and librdkafka copies them. It reads nothing after END.
        let error = unsafe {
            (kafka.rd_kafka_producev)(
                self.client.get().handle.0,
                TOPIC,
                topic.as_ptr(),
                PARTITION,
                partition,
                FLAGS,
                COPY,
                KEY,
                key.as_ptr(),
                key.len(),
                VALUE,
                value.as_ptr(),
                value.len(),
                TIMESTAMP,
                at_ms,
                HEADER,
                self.offset_header.as_ptr(),
                offset.as_ptr(),
                offset.len(),
                last,
                SIMULATED.as_ptr(),
                b"true".as_ptr(),
                4usize,
                END,
            )
        };
        error == NO_ERROR
    }
}
