package bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Raw events to typed topics: the same records as ours, without looking for duplicates or bad events. */
final class Router implements Processor<byte[], byte[], byte[], Router.Typed> {
    record Typed(String topic, byte[] value) {}

    private record Route(String topic, EventEncoder encoder) {}

    private final ObjectMapper mapper = new ObjectMapper();
    private final Map<String, Route> routes = new HashMap<>();
    private ProcessorContext<byte[], Typed> context;

    private Router(Job job) {
        job.routes().fields().forEachRemaining(entry -> {
            JsonNode route = entry.getValue();
            Schema schema = new Schema.Parser().parse(route.get("schema").toString());
            EventEncoder encoder = new EventEncoder(route.get("schema_id").asInt(), schema);
            routes.put(entry.getKey(), new Route(route.get("topic").asText(), encoder));
        });
    }

    static Topology topology(Job job) {
        Serializer<Typed> serializer = (topic, typed) -> typed.value();
        return new Topology()
                .addSource("raw", new ByteArrayDeserializer(), new ByteArrayDeserializer(), job.text("raw"))
                .addProcessor("router", () -> new Router(job), "raw")
                .addSink("typed", (key, typed, record) -> typed.topic(), new ByteArraySerializer(), serializer, "router");
    }

    @Override
    public void init(ProcessorContext<byte[], Typed> context) {
        this.context = context;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        try {
            JsonNode envelope = mapper.readTree(record.value());
            Route route = routes.get(envelope.get("payload").get("biz_type").textValue());
            Typed typed = new Typed(route.topic(), route.encoder().encode(envelope));
            String offset = Long.toString(context.recordMetadata().orElseThrow().offset());
            RecordHeaders headers = new RecordHeaders();
            headers.add("raw_offset", offset.getBytes(StandardCharsets.US_ASCII));
            context.forward(new Record<>(record.key(), typed, record.timestamp(), headers));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
