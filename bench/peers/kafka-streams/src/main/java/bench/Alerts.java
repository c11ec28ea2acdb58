package bench;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** An alert's common part, its id and its CloudEvents headers. */
final class Alerts {
    static final String LIQUIDATE_ONLY = "LIQUIDATE_ONLY";
    static final String TRANSFER_RETURNED = "TRANSFER_RETURNED";
    private static final UUID NAMESPACE = UUID.fromString("6261f28f-fc6c-59a7-817f-efdca5dc1481");
    private static final DateTimeFormatter MICROS =
            DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);
    private static final Map<String, String> SEVERITIES = Map.of(LIQUIDATE_ONLY, "critical", TRANSFER_RETURNED, "warning");

    private final Schema schema;
    private final String sourceUri;

    Alerts(Schema schema, String sourceUri) {
        this.schema = schema;
        this.sourceUri = sourceUri;
    }

    /** Where the typed record was read. */
    record Source(String topic, int partition, long offset) {}

    GenericRecord make(
            String rule, GenericRecord event, String accountKey, Source source, String status, String subject, String summary) {
        String dedupKey = rule + "/" + accountKey + "/" + subject;
        GenericRecord alert = new GenericData.Record(schema);
        alert.put("alert_id", uuid5(dedupKey + "/" + event.get("event_id")));
        alert.put("rule", rule);
        alert.put("rule_version", 1);
        alert.put("status", status);
        alert.put("severity", SEVERITIES.get(rule));
        alert.put("dedup_key", dedupKey);
        alert.put("account_key", accountKey);
        alert.put("subject", subject);
        alert.put("first_sight", false);
        alert.put("summary", summary);
        for (String name : new String[] {"account_id", "event_id", "event_type", "biz_type", "event_time", "event_time_text"}) {
            alert.put(name, event.get(name));
        }
        alert.put("source_topic", source.topic());
        alert.put("source_partition", source.partition());
        alert.put("source_offset", source.offset());
        return alert;
    }

    GenericRecord part(String field) {
        return new GenericData.Record(schema.getField(field).schema().getTypes().get(1));
    }

    RecordHeaders headers(GenericRecord alert) {
        long micros = (Long) alert.get("event_time");
        Instant time = Instant.ofEpochSecond(Math.floorDiv(micros, 1_000_000L), Math.floorMod(micros, 1_000_000L) * 1000L);
        String type = "broker.events.alert." + alert.get("rule") + "." + alert.get("status");
        RecordHeaders headers = new RecordHeaders();
        add(headers, "ce_specversion", "1.0");
        add(headers, "ce_id", alert.get("alert_id"));
        add(headers, "ce_source", sourceUri);
        add(headers, "ce_type", type.toLowerCase(Locale.ROOT));
        add(headers, "ce_subject", alert.get("dedup_key"));
        add(headers, "ce_time", MICROS.format(time));
        add(headers, "ce_partitionkey", alert.get("account_key"));
        add(headers, "content-type", "application/avro");
        return headers;
    }

    static String tail(Object account) {
        String text = account.toString();
        return "…" + text.substring(Math.max(0, text.length() - 4));
    }

    private static void add(RecordHeaders headers, String name, Object value) {
        headers.add(name, value.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static String uuid5(String name) {
        try {
            MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
            sha1.update(ByteBuffer.allocate(16)
                    .putLong(NAMESPACE.getMostSignificantBits())
                    .putLong(NAMESPACE.getLeastSignificantBits())
                    .array());
            ByteBuffer hash = ByteBuffer.wrap(sha1.digest(name.getBytes(StandardCharsets.UTF_8)));
            long high = hash.getLong() & 0xFFFFFFFFFFFF0FFFL | 0x5000L;
            long low = hash.getLong() & 0x3FFFFFFFFFFFFFFFL | 0x8000000000000000L;
            return new UUID(high, low).toString();
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }
}
