package bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;

/** What the harness asks for: addresses, topics, schemas and their ids, as one JSON file. */
record Job(JsonNode root) {
    static Job read(String path) throws IOException {
        return new Job(new ObjectMapper().readTree(new File(path)));
    }

    String text(String name) {
        return root.get(name).asText();
    }

    JsonNode routes() {
        return root.get("routes");
    }
}
