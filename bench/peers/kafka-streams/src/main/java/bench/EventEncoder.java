package bench;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;

/**
 * From an event's JSON tree to framed Avro, straight to the encoder: one step a field, planned from the schema and its
 * "from" pointers. It does less than the router it stands beside: members that no field reads are not looked for, so
 * the map "extra" is always empty, and a bad value is an exception.
 */
final class EventEncoder {
    private static final int SCALE = 18;

    private interface Step {
        void write(JsonNode envelope, JsonNode holder, BinaryEncoder out) throws IOException;
    }

    private interface Value {
        void write(JsonNode value, BinaryEncoder out) throws IOException;
    }

    private final byte[] frame;
    private final List<Step> steps;
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
    private BinaryEncoder encoder;

    EventEncoder(int schemaId, Schema schema) {
        frame = ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array();
        steps = plan(schema, false);
    }

    byte[] encode(JsonNode envelope) throws IOException {
        bytes.reset();
        bytes.write(frame);
        encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
        JsonNode payload = envelope.get("payload");
        for (Step step : steps) {
            step.write(envelope, payload, encoder);
        }
        encoder.flush();
        return bytes.toByteArray();
    }

    private static List<Step> plan(Schema schema, boolean ofItems) {
        List<Step> steps = new ArrayList<>();
        for (Schema.Field field : schema.getFields()) {
            Object from = field.getObjectProp("from");
            if ("*".equals(from)) {
                steps.add((envelope, holder, out) -> {
                    out.writeMapStart();
                    out.writeMapEnd();
                });
                continue;
            }
            List<String> pointers = new ArrayList<>();
            if (from instanceof List<?> several) {
                several.forEach(each -> pointers.add(each.toString()));
            } else {
                pointers.add(from != null ? from.toString() : (ofItems ? "/" : "/payload/") + field.name());
            }
            steps.add(step(pointers, field.schema(), ofItems));
        }
        return steps;
    }

    private static Step step(List<String> pointers, Schema schema, boolean ofItems) {
        boolean nullable = schema.getType() == Schema.Type.UNION;
        Value value = value(nullable ? schema.getTypes().get(1) : schema);
        String[] members = new String[pointers.size()];
        boolean[] inPayload = new boolean[pointers.size()];
        for (int i = 0; i < members.length; i++) {
            inPayload[i] = ofItems || pointers.get(i).startsWith("/payload/");
            members[i] = pointers.get(i).substring(pointers.get(i).lastIndexOf('/') + 1);
        }
        return (envelope, holder, out) -> {
            JsonNode found = null;
            for (int i = 0; i < members.length && found == null; i++) {
                found = (inPayload[i] ? holder : envelope).get(members[i]);
                if (found != null && found.isNull()) {
                    found = null;
                }
            }
            if (nullable) {
                out.writeIndex(found == null ? 0 : 1);
            } else if (found == null) {
                throw new IllegalArgumentException("missing " + members[0]);
            }
            if (found != null) {
                value.write(found, out);
            }
        };
    }

    private static Value value(Schema schema) {
        switch (schema.getType()) {
            case STRING:
                return (value, out) -> out.writeString(value.textValue());
            case LONG:
                return (value, out) -> out.writeLong(micros(value.textValue()));
            case BYTES:
                return (value, out) -> out.writeBytes(
                        new BigDecimal(value.asText()).setScale(SCALE).unscaledValue().toByteArray());
            case ARRAY:
                return array(schema.getElementType());
            default:
                throw new IllegalArgumentException(schema.toString());
        }
    }

    private static Value array(Schema element) {
        Value item;
        if (element.getType() == Schema.Type.RECORD) {
            List<Step> steps = plan(element, true);
            item = (value, out) -> {
                for (Step step : steps) {
                    step.write(value, value, out);
                }
            };
        } else {
            item = value(element);
        }
        return (value, out) -> {
            out.writeArrayStart();
            out.setItemCount(value.size());
            for (JsonNode each : value) {
                out.startItem();
                item.write(each, out);
            }
            out.writeArrayEnd();
        };
    }

    private static long micros(String text) {
        Instant time = Instant.parse(text);
        return time.getEpochSecond() * 1_000_000 + time.getNano() / 1000;
    }
}
