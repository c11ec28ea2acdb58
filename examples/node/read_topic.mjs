// Read topics from Node: `node read_topic.mjs TOPIC...`, Kafka names such as broker.event.transfer.
//
// Prints each record as one JSON line, handles every alert once, ends after IDLE_S seconds without a record, and commits
// its offsets: the next run continues there. Environment: KAFKA, REGISTRY, GROUP, HANDLED (a file), IDLE_S.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import avro from 'avsc'
import kafkajs from 'kafkajs'
import { decompressFrame } from 'lz4-napi'

const { KAFKA = '127.0.0.1:9092', REGISTRY = 'http://127.0.0.1:8081', GROUP = 'broker-subscriber-node' } = process.env
const { HANDLED = 'handled-alerts.txt', IDLE_S = '10' } = process.env
const TOPICS = process.argv.slice(2)

// A 64-bit integer goes through BigInt: microseconds since 1970 do not fit a number for every year.
const longAs = (convert) => avro.types.LongType.__with({
  fromBuffer: (buffer) => convert(buffer.readBigInt64LE()),
  toBuffer: () => { throw new Error('this program only reads') },
  fromJSON: String,
  toJSON: String,
  isValid: (value) => typeof value === 'string' || typeof value === 'bigint',
  compare: () => 0
})

// A time: microseconds since 1970, as text with all six digits. A Date has three.
const time = longAs((micros) => {
  const fraction = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n
  const text = new Date(Number((micros - fraction) / 1000n)).toISOString().slice(0, 19)
  return `${text}.${fraction.toString().padStart(6, '0')}Z`
})
const long = longAs((value) => value)

// An amount: bytes of the value times 10^18, big-endian two's complement, as exact text.
class Decimal extends avro.types.LogicalType {
  constructor (schema, options) { super(schema, options); this.scale = schema.scale }
  _fromValue (bytes) {
    const value = bytes.length === 0 ? 0n : BigInt.asIntN(8 * bytes.length, BigInt(`0x${bytes.toString('hex')}`))
    const digits = (value < 0n ? -value : value).toString().padStart(this.scale + 1, '0')
    return `${value < 0n ? '-' : ''}${digits.slice(0, -this.scale)}.${digits.slice(-this.scale)}`
  }
}

const types = new Map()

async function typeOf (id) {
  if (!types.has(id)) {
    const answer = await fetch(`${REGISTRY}/schemas/ids/${id}`)
    if (!answer.ok) throw new Error(`the registry answers ${answer.status} for schema id ${id}`)
    const { schema } = await answer.json()
    types.set(id, avro.Type.forSchema(JSON.parse(schema), {
      logicalTypes: { decimal: Decimal },
      typeHook: ({ type, logicalType }) => type !== 'long' ? undefined : logicalType === 'timestamp-micros' ? time : long
    }))
  }
  return types.get(id)
}

async function decode (value) {
  if (value.length < 5 || value[0] !== 0) throw new Error('not in the Confluent wire format')
  return (await typeOf(value.readUInt32BE(1))).fromBuffer(value.subarray(5))
}

const handled = new Set(existsSync(HANDLED) ? readFileSync(HANDLED, 'utf8').split('\n') : [])

// Act on an alert once, however often it is read: alert_id identifies it. Use a unique key in your database.
function handleAlert (alert) {
  if (handled.has(alert.alert_id)) return
  handled.add(alert.alert_id)
  appendFileSync(HANDLED, `${alert.alert_id}\n`)
}

// kafkajs has no codec for lz4, in which the records are compressed.
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.LZ4] = () => ({ decompress: decompressFrame })

const kafka = new kafkajs.Kafka({ clientId: GROUP, brokers: KAFKA.split(','), logLevel: kafkajs.logLevel.ERROR })
const consumer = kafka.consumer({ groupId: GROUP, readUncommitted: false }) // the default; say it all the same
const next = new Map()
let last = Date.now()

async function read ({ topic, partition, message: { offset, key, value } }) {
  const record = value === null ? null : await decode(value) // null is a tombstone: the key is deleted
  if (record !== null && topic.endsWith('.alerts')) handleAlert(record)
  const line = { topic, partition, offset: Number(offset), key: key?.toString() ?? null, value: record }
  console.log(JSON.stringify(line, (_, field) => (typeof field === 'bigint' ? Number(field) : field)))
  next.set(`${topic}/${partition}`, { topic, partition, offset: (BigInt(offset) + 1n).toString() })
  last = Date.now()
}

await consumer.connect()
await consumer.subscribe({ topics: TOPICS, fromBeginning: true })
await consumer.run({ autoCommit: false, eachMessage: read }) // commit what is processed, not what is fetched
while (Date.now() - last < Number(IDLE_S) * 1000) await new Promise((resolve) => setTimeout(resolve, 200))
// After processing: a crash repeats records and loses none.
if (next.size > 0) await consumer.commitOffsets([...next.values()])
await consumer.disconnect()
