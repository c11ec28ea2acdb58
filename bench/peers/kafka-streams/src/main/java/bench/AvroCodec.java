package bench;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/** Generic records to and from framed Avro. One per thread. */
final class AvroCodec {
    private static final int FRAME = 5;

    final Schema schema;
    private final byte[] frame;
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer;
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;

    AvroCodec(JsonNode contract) {
        schema = new Schema.Parser().parse(contract.get("schema").toString());
        frame = ByteBuffer.allocate(FRAME).put((byte) 0).putInt(contract.get("schema_id").asInt()).array();
        reader = new GenericDatumReader<>(schema) {
            @Override
            protected Object newMap(Object old, int size) {
                return new LinkedHashMap<>(size * 2); // the order stays, so that equal states are equal bytes
            }
        };
        writer = new GenericDatumWriter<>(schema);
    }

    GenericRecord decode(byte[] value) {
        if (value == null) {
            return null;
        }
        try {
            decoder = DecoderFactory.get().binaryDecoder(value, FRAME, value.length - FRAME, decoder);
            return reader.read(null, decoder);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    byte[] encode(GenericRecord record) {
        try {
            bytes.reset();
            bytes.write(frame);
            encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
            writer.write(record, encoder);
            encoder.flush();
            return bytes.toByteArray();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
