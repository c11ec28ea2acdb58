package bench;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;

/** The six funding event types, folded into the state of one movement; TRANSFER_RETURNED alerts. */
final class Movements {
    private static final int HISTORY_LIMIT = 32;
    private static final Set<String> FINAL = Set.of("CANCELED", "REJECTED", "FAILED", "COMPLETED", "RETURNED");
    private static final Map<String, String[]> SYSTEM_IDS = Map.of(
            "TRANSFER", new String[] {"transfer_id"},
            "FEE_DEDUCTION", new String[] {"fee_id", "instant_funding_id"},
            "CREDIT", new String[] {"credit_id"},
            "INSTANT_FUNDING", new String[] {"instant_funding_id"},
            "INSTANT_EXCHANGE", new String[] {"instant_exchange_id"},
            "EXCHANGE", new String[] {"fx_id"});
    private static final String[] EXCHANGE = {
        "from_amount", "from_currency", "to_amount", "to_currency"
    };

    private final Schema schema;
    private final Schema statusEvent;
    private final Alerts alerts;

    Movements(Schema schema, Alerts alerts) {
        this.schema = schema;
        this.statusEvent = schema.getField("history").schema().getElementType();
        this.alerts = alerts;
    }

    static String key(String bizType, GenericRecord event, String accountKey) {
        return accountKey + "/" + bizType + "/" + requestId(bizType, event);
    }

    /** Change `state` (null: a new movement) and add alerts to `fired`; return the state to write. */
    GenericRecord apply(
            String bizType, GenericRecord state, GenericRecord event, String key, Alerts.Source source, List<GenericRecord> fired) {
        GenericRecord movement = state;
        String status = event.get("status").toString();
        if (state == null) {
            movement = first(bizType, event, key);
        } else {
            boolean stale = Recency.isOlder(event, state);
            terms(bizType, movement, event, stale);
            @SuppressWarnings("unchecked")
            Map<CharSequence, Object> ids = (Map<CharSequence, Object>) movement.get("system_ids");
            systemIds(bizType, event).forEach((name, value) -> {
                if (!stale || !ids.containsKey(name)) {
                    ids.put(name, value);
                }
            });
            if (!stale) {
                latest(movement, event);
            }
            history(movement, event);
        }
        GenericRecord completed = (GenericRecord) movement.get("completed");
        if (status.equals("COMPLETED") && (completed == null || Recency.isOlder(event, completed))) {
            movement.put("completed", entry(event));
        }
        if (status.equals("RETURNED") && bizType.equals("TRANSFER") && movement.get("returned_alert_id") == null) {
            GenericRecord alert = returned(movement, event, source);
            movement.put("returned_alert_id", alert.get("alert_id"));
            fired.add(alert);
        }
        return movement;
    }

    private GenericRecord first(String bizType, GenericRecord event, String key) {
        GenericRecord movement = new GenericData.Record(schema);
        movement.put("movement_id", key(bizType, event, key));
        movement.put("account_key", key);
        movement.put("account_id", event.get("account_id"));
        movement.put("biz_type", bizType);
        movement.put("client_request_id", event.get("client_request_id"));
        movement.put("system_ids", systemIds(bizType, event));
        terms(bizType, movement, event, false);
        latest(movement, event);
        List<GenericRecord> history = new ArrayList<>();
        history.add(entry(event));
        movement.put("history", history);
        movement.put("history_dropped", 0);
        movement.put("rules", Map.of());
        return movement;
    }

    private static void latest(GenericRecord movement, GenericRecord event) {
        for (String name : new String[] {"status", "reason", "event_time", "event_time_text", "event_id"}) {
            movement.put(name, event.get(name));
        }
    }

    private static void terms(String bizType, GenericRecord movement, GenericRecord event, boolean gapsOnly) {
        switch (bizType) {
            case "TRANSFER" -> {
                term(movement, "type", event.get("transfer_type"), gapsOnly);
                term(movement, "direction", event.get("direction"), gapsOnly);
                term(movement, "amount", event.get("amount"), gapsOnly);
                term(movement, "currency", event.get("currency"), gapsOnly);
            }
            case "EXCHANGE", "INSTANT_EXCHANGE" -> {
                for (String name : EXCHANGE) {
                    term(movement, name, event.get(name), gapsOnly);
                }
                if (bizType.equals("EXCHANGE")) {
                    term(movement, "fx_rate", event.get("fx_rate"), gapsOnly);
                }
            }
            default -> {
                for (String name : new String[] {"type", "amount", "currency"}) {
                    term(movement, name, event.get(name), gapsOnly);
                }
            }
        }
    }

    private static void term(GenericRecord movement, String name, Object value, boolean gapsOnly) {
        if (value != null && (!gapsOnly || movement.get(name) == null)) {
            movement.put(name, value);
        }
    }

    private static Map<CharSequence, Object> systemIds(String bizType, GenericRecord event) {
        Map<CharSequence, Object> ids = new LinkedHashMap<>();
        for (String name : SYSTEM_IDS.get(bizType)) {
            Object value = event.get(name);
            if (value != null && !value.toString().isEmpty()) {
                ids.put(new org.apache.avro.util.Utf8(name), value);
            }
        }
        return ids;
    }

    private static Object requestId(String bizType, GenericRecord event) {
        Object id = event.get("client_request_id");
        if (id != null && !id.toString().isEmpty()) {
            return id;
        }
        return systemIds(bizType, event).values().stream().findFirst().orElse(event.get("event_id"));
    }

    private void history(GenericRecord movement, GenericRecord event) {
        @SuppressWarnings("unchecked")
        List<GenericRecord> history = new ArrayList<>((List<GenericRecord>) movement.get("history"));
        int place = history.size();
        while (place > 0 && Recency.isOlder(event, history.get(place - 1))) {
            place--;
        }
        GenericRecord entry = entry(event);
        entry.put("illegal", place > 0 && !isLegal(history.get(place - 1), entry));
        if (place < history.size()) {
            history.get(place).put("illegal", !isLegal(entry, history.get(place)));
        }
        history.add(place, entry);
        int dropped = Math.max(0, history.size() - HISTORY_LIMIT);
        movement.put("history", new ArrayList<>(history.subList(dropped, history.size())));
        movement.put("history_dropped", (Integer) movement.get("history_dropped") + dropped);
    }

    private static boolean isLegal(GenericRecord before, GenericRecord after) {
        String from = before.get("status").toString();
        String to = after.get("status").toString();
        return from.equals(to) || !FINAL.contains(from) || !FINAL.contains(to)
                || (from.equals("COMPLETED") && to.equals("RETURNED"));
    }

    private GenericRecord entry(GenericRecord event) {
        GenericRecord entry = new GenericData.Record(statusEvent);
        for (String name : new String[] {"status", "event_time", "event_time_text", "event_id"}) {
            entry.put(name, event.get(name));
        }
        entry.put("illegal", false);
        return entry;
    }

    private GenericRecord returned(GenericRecord movement, GenericRecord event, Alerts.Source source) {
        GenericRecord completed = (GenericRecord) movement.get("completed");
        StringBuilder kind = new StringBuilder();
        for (String name : new String[] {"transfer_type", "direction"}) {
            Object word = event.get(name);
            if (word != null && !word.toString().isEmpty()) {
                kind.append(kind.isEmpty() ? "" : " ").append(word);
            }
        }
        Object account = event.get("account_id");
        String key = movement.get("account_key").toString();
        String summary = (kind.isEmpty() ? "transfer" : kind) + " of " + decimal((ByteBuffer) event.get("amount")) + " "
                + event.get("currency") + " returned on account "
                + Alerts.tail(account != null && !account.toString().isEmpty() ? account : key);
        GenericRecord alert = alerts.make(
                Alerts.TRANSFER_RETURNED, event, key, source, "FIRING", requestId("TRANSFER", event).toString(), summary);
        GenericRecord evidence = alerts.part("transfer");
        evidence.put("movement_id", movement.get("movement_id"));
        for (String name : new String[] {
            "client_request_id", "transfer_id", "transfer_type", "direction", "amount", "currency", "reason"
        }) {
            evidence.put(name, event.get(name));
        }
        if (completed != null) {
            evidence.put("completed_event_id", completed.get("event_id"));
            evidence.put("completed_event_time", completed.get("event_time"));
            evidence.put("completed_event_time_text", completed.get("event_time_text"));
            evidence.put("elapsed_us", (Long) event.get("event_time") - (Long) completed.get("event_time"));
        }
        alert.put("transfer", evidence);
        return alert;
    }

    private static String decimal(ByteBuffer bytes) {
        byte[] unscaled = new byte[bytes.remaining()];
        bytes.duplicate().get(unscaled);
        BigDecimal value = new BigDecimal(new BigInteger(unscaled), 18);
        return value.signum() == 0 ? "0" : value.stripTrailingZeros().toPlainString();
    }
}
