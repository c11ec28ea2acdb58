package bench;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** Typed events to state and alerts: stores in memory with a changelog and a cache, as a table of ours is. */
final class Projector implements Processor<byte[], byte[], byte[], Projector.Out> {
    private static final Set<String> ACCOUNT_TYPES = Set.of(
            "ACCOUNT_UPDATE", "VIRTUAL_ACCOUNT_BCAN_UPDATE", "ACCOUNT_INFO_UPDATE", "ACCOUNT_RESTRICT",
            "ACCOUNT_UNRESTRICTED", "ACCOUNT_CLOSE");

    /** An alert on its way out; `value` null: a tombstone. */
    record Out(byte[] value, int partition) {}

    private record Typed(String bizType, AvroCodec codec) {}

    private final Map<String, Typed> typed = new HashMap<>();
    private final AvroCodec accountCodec;
    private final AvroCodec movementCodec;
    private final AvroCodec alertCodec;
    private final Alerts alerts;
    private final Accounts accounts;
    private final Movements movements;
    private final List<GenericRecord> fired = new ArrayList<>();
    private ProcessorContext<byte[], Out> context;
    private KeyValueStore<byte[], byte[]> accountStore;
    private KeyValueStore<byte[], byte[]> movementStore;

    private Projector(Job job) {
        job.routes().fields().forEachRemaining(entry ->
                typed.put(entry.getValue().get("topic").asText(), new Typed(entry.getKey(), new AvroCodec(entry.getValue()))));
        accountCodec = new AvroCodec(job.root().get("records").get("state.accounts"));
        movementCodec = new AvroCodec(job.root().get("records").get("state.movements"));
        alertCodec = new AvroCodec(job.root().get("records").get("alerts"));
        alerts = new Alerts(alertCodec.schema, job.text("source_uri"));
        accounts = new Accounts(accountCodec.schema, alerts);
        movements = new Movements(movementCodec.schema, alerts);
    }

    static Topology topology(Job job) {
        Serializer<Out> serializer = (topic, out) -> out.value();
        StreamPartitioner<byte[], Out> partitioner = (topic, key, out, count) -> Optional.of(Set.of(out.partition()));
        List<String> topics = new ArrayList<>();
        job.routes().forEach(route -> topics.add(route.get("topic").asText()));
        return new Topology()
                .addSource("typed", new ByteArrayDeserializer(), new ByteArrayDeserializer(), topics.toArray(String[]::new))
                .addProcessor("projector", () -> new Projector(job), "typed")
                .addStateStore(store("accounts"), "projector")
                .addStateStore(store("movements"), "projector")
                .addSink("alerts", topic(job, "alerts"), new ByteArraySerializer(), serializer, partitioner, "projector")
                .addSink("active", topic(job, "alerts.active"), new ByteArraySerializer(), serializer, partitioner, "projector");
    }

    private static String topic(Job job, String name) {
        return job.root().get("records").get(name).get("topic").asText();
    }

    private static StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name) {
        Serde<byte[]> bytes = Serdes.ByteArray();
        return Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name), bytes, bytes)
                .withLoggingEnabled(Map.of())
                .withCachingEnabled();
    }

    @Override
    public void init(ProcessorContext<byte[], Out> context) {
        this.context = context;
        accountStore = context.getStateStore("accounts");
        movementStore = context.getStateStore("movements");
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        RecordMetadata at = context.recordMetadata().orElseThrow();
        Typed type = typed.get(at.topic());
        GenericRecord event = type.codec().decode(record.value());
        String key = new String(record.key(), StandardCharsets.UTF_8);
        Alerts.Source source = new Alerts.Source(at.topic(), at.partition(), at.offset());
        fired.clear();
        if (ACCOUNT_TYPES.contains(type.bizType())) {
            GenericRecord state = accountCodec.decode(accountStore.get(record.key()));
            GenericRecord changed = accounts.apply(type.bizType(), state, event, key, source, fired);
            accountStore.put(record.key(), accountCodec.encode(changed));
        } else {
            byte[] id = Movements.key(type.bizType(), event, key).getBytes(StandardCharsets.UTF_8);
            GenericRecord state = movementCodec.decode(movementStore.get(id));
            movementStore.put(id, movementCodec.encode(movements.apply(type.bizType(), state, event, key, source, fired)));
        }
        for (GenericRecord alert : fired) {
            forward(alert, record, at.partition());
        }
    }

    private void forward(GenericRecord alert, Record<byte[], byte[]> record, int partition) {
        byte[] value = alertCodec.encode(alert);
        RecordHeaders headers = alerts.headers(alert);
        context.forward(new Record<>(record.key(), new Out(value, partition), record.timestamp(), headers), "alerts");
        if (alert.get("rule").equals(Alerts.LIQUIDATE_ONLY)) {
            byte[] dedupKey = alert.get("dedup_key").toString().getBytes(StandardCharsets.UTF_8);
            Out active = new Out(alert.get("status").equals("FIRING") ? value : null, partition);
            Headers same = new RecordHeaders(headers);
            context.forward(new Record<>(dedupKey, active, record.timestamp(), same), "active");
        }
    }
}
