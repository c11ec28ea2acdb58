package example;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.avro.Conversions.DecimalConversion;
import org.apache.avro.data.TimeConversions.TimestampMicrosConversion;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/**
 * Reads topics: Kafka names such as broker.event.transfer as arguments.
 *
 * <p>Prints each record as one JSON line, handles every alert once, ends after IDLE_S seconds without a record, and commits
 * its offsets: the next run continues there. Environment: KAFKA, REGISTRY, GROUP, HANDLED (a file), IDLE_S.
 */
public final class ReadTopic {
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

  private final Path file = Path.of(env("HANDLED", "handled-alerts.txt"));
  private final Set<String> handled = new HashSet<>();

  public static void main(String[] topics) throws IOException {
    // Without these two, a decimal is a ByteBuffer and a time a long.
    GenericData.get().addLogicalTypeConversion(new DecimalConversion());
    GenericData.get().addLogicalTypeConversion(new TimestampMicrosConversion());
    new ReadTopic().run(List.of(topics));
  }

  private void run(List<String> topics) throws IOException {
    if (Files.exists(file)) handled.addAll(Files.readAllLines(file));
    var json = new ObjectMapper();
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    var idle = Duration.ofSeconds(Long.parseLong(env("IDLE_S", "10")));
    try (var consumer = new KafkaConsumer<String, GenericRecord>(properties())) {
      consumer.subscribe(topics);
      for (var last = Instant.now(); Instant.now().isBefore(last.plus(idle)); ) {
        for (var record : consumer.poll(Duration.ofSeconds(1))) {
          GenericRecord value = record.value(); // null is a tombstone: the key is deleted
          if (value != null && record.topic().endsWith(".alerts")) handleAlert(value);
          Map<String, Object> line = new LinkedHashMap<>();
          line.put("topic", record.topic());
          line.put("partition", record.partition());
          line.put("offset", record.offset());
          line.put("key", record.key());
          line.put("value", plain(value));
          out.println(json.writeValueAsString(line));
          last = Instant.now();
        }
      }
      consumer.commitSync(); // after processing: a crash repeats records and loses none
    }
  }

  private static Properties properties() {
    var p = new Properties();
    p.put("bootstrap.servers", env("KAFKA", "127.0.0.1:9092"));
    p.put("group.id", env("GROUP", "broker-subscriber-java"));
    p.put("isolation.level", "read_committed"); // the default of Java clients reads uncommitted records
    p.put("auto.offset.reset", "earliest");
    p.put("enable.auto.commit", "false"); // commit what is processed, not what is fetched
    p.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    p.put("value.deserializer", "io.apicurio.registry.serde.avro.AvroKafkaDeserializer");
    // Apicurio's own API, not its Confluent-compatible one.
    p.put("apicurio.registry.url", env("REGISTRY", "http://127.0.0.1:8081").replace("/apis/ccompat/v7", "/apis/registry/v3"));
    return p;
  }

  /** Acts on an alert once, however often it is read: alert_id identifies it. Use a unique key in your database. */
  private void handleAlert(GenericRecord alert) throws IOException {
    String id = alert.get("alert_id").toString();
    if (handled.add(id)) {
      Files.writeString(file, id + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
  }

  /** Exact text for JSON: a double would lose digits of an amount. */
  private static Object plain(Object value) {
    if (value instanceof GenericRecord record) {
      Map<String, Object> fields = new LinkedHashMap<>();
      record.getSchema().getFields().forEach(field -> fields.put(field.name(), plain(record.get(field.pos()))));
      return fields;
    }
    if (value instanceof Map<?, ?> map) {
      Map<String, Object> members = new LinkedHashMap<>();
      map.forEach((name, member) -> members.put(name.toString(), plain(member)));
      return members;
    }
    if (value instanceof List<?> list) {
      List<Object> items = new ArrayList<>();
      list.forEach(item -> items.add(plain(item)));
      return items;
    }
    if (value instanceof BigDecimal amount) return amount.toPlainString();
    if (value instanceof Instant time) return TIME.format(time);
    return value instanceof CharSequence text ? text.toString() : value;
  }

  private static String env(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }
}
