//! Read topics from Rust: `cargo run -- TOPIC...`, Kafka names such as broker.event.transfer.
//!
//! Prints each record as one JSON line, handles every alert once, ends after IDLE_S seconds without a record, and
//! commits its offsets: the next run continues there. Environment: KAFKA, REGISTRY, GROUP, HANDLED (a file), IDLE_S.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::{read_to_string, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use apache_avro::types::Value;
use apache_avro::{from_avro_datum, Schema};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Message};
use serde_json::{json, Value as Json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Reads values in the Confluent wire format: 0x00, a schema id of 4 bytes, an Avro body.
struct Decoder {
    registry: String,
    schemas: HashMap<u32, Schema>,
}

impl Decoder {
    fn decode(&mut self, value: &[u8]) -> Result<Value> {
        if value.len() < 5 || value[0] != 0 {
            return Err("not in the Confluent wire format".into());
        }
        let id = u32::from_be_bytes(value[1..5].try_into()?);
        if !self.schemas.contains_key(&id) {
            let url = format!("{}/schemas/ids/{id}", self.registry);
            let answer: Json = serde_json::from_str(&ureq::get(&url).call()?.body_mut().read_to_string()?)?;
            let text = answer["schema"].as_str().ok_or("the registry's answer has no schema")?;
            self.schemas.insert(id, Schema::parse_str(text)?);
        }
        Ok(from_avro_datum(&self.schemas[&id], &mut &value[5..], None)?)
    }
}

/// Exact text for JSON: an f64 would lose digits of an amount.
fn plain(value: Value) -> Result<Json> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Boolean(it) => json!(it),
        Value::Int(it) => json!(it),
        Value::Long(it) => json!(it),
        Value::String(it) => json!(it),
        Value::Union(_, inner) => plain(*inner)?,
        Value::Decimal(it) => json!(amount(&<Vec<u8>>::try_from(&it)?)),
        Value::TimestampMicros(it) => json!(time(it)),
        Value::Array(items) => Json::Array(items.into_iter().map(plain).collect::<Result<_>>()?),
        Value::Map(members) => {
            Json::Object(members.into_iter().map(|(name, it)| Ok((name, plain(it)?))).collect::<Result<_>>()?)
        }
        Value::Record(fields) => {
            Json::Object(fields.into_iter().map(|(name, it)| Ok((name, plain(it)?))).collect::<Result<_>>()?)
        }
        other => return Err(format!("unexpected {other:?}").into()),
    })
}

/// An amount with 18 decimals from big-endian two's complement of the value times 10^18; 38 digits fit an i128.
fn amount(bytes: &[u8]) -> String {
    let fill = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let mut all = [fill; 16];
    all[16 - bytes.len()..].copy_from_slice(bytes);
    let value = i128::from_be_bytes(all);
    let digits = format!("{:019}", value.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - 18);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// A time in UTC from microseconds since 1970: days to a date as in Howard Hinnant's civil_from_days.
fn time(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

fn env(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_string())
}

fn main() -> Result<()> {
    let topics: Vec<String> = std::env::args().skip(1).collect();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", env("KAFKA", "127.0.0.1:9092"))
        .set("group.id", env("GROUP", "broker-subscriber-rust"))
        .set("isolation.level", "read_committed") // librdkafka's default; say it all the same
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false") // commit what is processed, not what is fetched
        .create()?;
    consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut decoder = Decoder { registry: env("REGISTRY", "http://127.0.0.1:8081"), schemas: HashMap::new() };
    let path = env("HANDLED", "handled-alerts.txt");
    let mut handled: HashSet<String> = read_to_string(&path).unwrap_or_default().lines().map(String::from).collect();
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let idle = Duration::from_secs(env("IDLE_S", "10").parse()?);
    let (mut last, mut count) = (Instant::now(), 0);
    while last.elapsed() < idle {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        // Without a value it is a tombstone: the key is deleted.
        let value = message.payload().map(|bytes| decoder.decode(bytes).and_then(plain)).transpose()?;
        if let Some(id) = value.as_ref().and_then(|alert| alert["alert_id"].as_str()) {
            // Act on an alert once, however often it is read. Use a unique key in your database.
            if message.topic().ends_with(".alerts") && handled.insert(id.to_string()) {
                writeln!(file, "{id}")?;
            }
        }
        let key = message.key().map(String::from_utf8_lossy);
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        println!("{}", json!({"topic": topic, "partition": partition, "offset": offset, "key": key, "value": value}));
        (last, count) = (Instant::now(), count + 1);
    }
    if count > 0 {
        consumer.commit_consumer_state(CommitMode::Sync)?; // after processing: a crash repeats records, loses none
    }
    Ok(())
}
