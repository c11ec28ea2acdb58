package bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.util.Utf8;

/** The six account event types, folded into the state of the account; LIQUIDATE_ONLY alerts. */
final class Accounts {
    private final Schema schema;
    private final Alerts alerts;

    Accounts(Schema schema, Alerts alerts) {
        this.schema = schema;
        this.alerts = alerts;
    }

    /** Change `state` (null: a new account) and add alerts to `fired`; return the state to write, which may be new. */
    GenericRecord apply(
            String bizType, GenericRecord state, GenericRecord event, String key, Alerts.Source source, List<GenericRecord> fired) {
        GenericRecord account = state != null ? state : unknown(key);
        boolean typed = bizType.equals("ACCOUNT_UPDATE") || bizType.equals("VIRTUAL_ACCOUNT_BCAN_UPDATE");
        fact(account, "account_id", event.get("account_id"), event);
        fact(account, "account_number", event.get("account_number"), event);
        if (typed) {
            fact(account, "account_type", event.get("account_type"), event);
        }
        switch (bizType) {
            case "ACCOUNT_UPDATE" -> restrictions(account, event, key, source, fired);
            case "VIRTUAL_ACCOUNT_BCAN_UPDATE" -> bcan(account, event);
            case "ACCOUNT_INFO_UPDATE" -> outcome(account, "info_update", event, event.get("request_id"));
            case "ACCOUNT_CLOSE" -> outcome(account, "close", event, null);
            default -> infos(account, event);
        }
        return account;
    }

    private GenericRecord unknown(String key) {
        GenericRecord account = new GenericData.Record(schema);
        account.put("account_key", key);
        account.put("bcan", new LinkedHashMap<>());
        account.put("rules", Map.of());
        return account;
    }

    private void fact(GenericRecord account, String name, Object value, GenericRecord event) {
        if (value == null || value.toString().isEmpty()) {
            return;
        }
        GenericRecord old = (GenericRecord) account.get(name);
        if (old != null && Recency.yieldsTo(event, old)) {
            return;
        }
        GenericRecord fact = stamped(part("account_id"), event);
        fact.put("value", value);
        fact.put("biz_type", event.get("biz_type"));
        account.put(name, fact);
    }

    private void restrictions(
            GenericRecord account, GenericRecord event, String key, Alerts.Source source, List<GenericRecord> fired) {
        GenericRecord last = (GenericRecord) account.get("restrictions");
        if (last != null && Recency.isOlder(event, last)) {
            return;
        }
        GenericRecord snapshot = stamped(part("restrictions"), event);
        snapshot.put("codes", event.get("restrictions"));
        snapshot.put("liquidate_only", judge(last, event, key, source, fired));
        account.put("restrictions", snapshot);
    }

    private Map<CharSequence, GenericRecord> judge(
            GenericRecord last, GenericRecord event, String key, Alerts.Source source, List<GenericRecord> fired) {
        Map<String, Object> now = new LinkedHashMap<>();
        for (Object code : (List<?>) event.get("restrictions")) {
            String market = market(code.toString());
            if (market != null) {
                now.putIfAbsent(market, code);
            }
        }
        @SuppressWarnings("unchecked")
        Map<CharSequence, GenericRecord> before =
                last == null ? Map.of() : (Map<CharSequence, GenericRecord>) last.get("liquidate_only");
        Map<CharSequence, GenericRecord> held = new LinkedHashMap<>();
        now.forEach((market, code) -> {
            GenericRecord since = before.get(new Utf8(market));
            held.put(new Utf8(market), since != null ? since : fire(last, event, key, source, market, code, fired));
        });
        before.forEach((market, since) -> {
            if (!now.containsKey(market.toString())) {
                GenericRecord alert = alert(event, key, source, "RESOLVED", market.toString(), "is no longer");
                evidence(alert, last, event, since);
                long duration = (Long) event.get("event_time") - (Long) since.get("since");
                ((GenericRecord) alert.get("restriction")).put("duration_us", duration);
                fired.add(alert);
            }
        });
        return now.size() == before.size() && fired.isEmpty() ? before : held;
    }

    private GenericRecord fire(
            GenericRecord last, GenericRecord event, String key, Alerts.Source source, String market, Object code,
            List<GenericRecord> fired) {
        GenericRecord alert = alert(event, key, source, "FIRING", market, "is");
        Schema map = part("restrictions").getField("liquidate_only").schema();
        GenericRecord since = new GenericData.Record(map.getValueType());
        since.put("code", code);
        since.put("since_event_id", event.get("event_id"));
        since.put("since", event.get("event_time"));
        since.put("since_text", event.get("event_time_text"));
        since.put("fired_alert_id", alert.get("alert_id"));
        since.put("first_sight", last == null);
        alert.put("first_sight", last == null);
        evidence(alert, last, event, since);
        fired.add(alert);
        return since;
    }

    private GenericRecord alert(
            GenericRecord event, String key, Alerts.Source source, String status, String market, String verb) {
        Object number = event.get("account_number");
        String account = Alerts.tail(number != null && !number.toString().isEmpty() ? number : key);
        String summary = market + ": account " + account + " " + verb + " liquidate-only";
        GenericRecord alert = alerts.make(Alerts.LIQUIDATE_ONLY, event, key, source, status, market, summary);
        alert.put("account_number", number);
        return alert;
    }

    private void evidence(GenericRecord alert, GenericRecord last, GenericRecord event, GenericRecord since) {
        GenericRecord evidence = alerts.part("restriction");
        evidence.put("code", since.get("code"));
        evidence.put("restrictions", event.get("restrictions"));
        evidence.put("previous_restrictions", last == null ? null : last.get("codes"));
        for (String name : new String[] {"fired_alert_id", "since_event_id", "since", "since_text"}) {
            evidence.put(name, since.get(name));
        }
        alert.put("restriction", evidence);
    }

    private void bcan(GenericRecord account, GenericRecord event) {
        @SuppressWarnings("unchecked")
        Map<CharSequence, GenericRecord> all = (Map<CharSequence, GenericRecord>) account.get("bcan");
        CharSequence type = (CharSequence) event.get("type");
        GenericRecord last = all.get(type);
        if (last != null && Recency.isOlder(event, last)) {
            return;
        }
        GenericRecord bcan = stamped(schema.getField("bcan").schema().getValueType(), event);
        bcan.put("status", event.get("status"));
        all.put(type, bcan);
    }

    private void outcome(GenericRecord account, String name, GenericRecord event, Object requestId) {
        GenericRecord last = (GenericRecord) account.get(name);
        if (last != null && Recency.isOlder(event, last)) {
            return;
        }
        GenericRecord outcome = stamped(part("info_update"), event);
        outcome.put("status", event.get("status"));
        outcome.put("request_id", requestId);
        outcome.put("client_request_id", event.get("client_request_id"));
        account.put(name, outcome);
    }

    private void infos(GenericRecord account, GenericRecord event) {
        GenericRecord last = (GenericRecord) account.get("restrict_infos");
        if (last != null && Recency.yieldsTo(event, last)) {
            return;
        }
        GenericRecord stated = stamped(part("restrict_infos"), event);
        Schema element = stated.getSchema().getField("infos").schema().getElementType();
        List<GenericRecord> infos = new ArrayList<>();
        for (Object each : (List<?>) event.get("restrict_infos")) {
            GenericRecord info = new GenericData.Record(element);
            for (Schema.Field field : element.getFields()) {
                info.put(field.pos(), ((GenericRecord) each).get(field.name()));
            }
            infos.add(info);
        }
        stated.put("biz_type", event.get("biz_type"));
        stated.put("infos", infos);
        account.put("restrict_infos", stated);
    }

    private Schema part(String field) {
        return schema.getField(field).schema().getTypes().get(1);
    }

    private static GenericRecord stamped(Schema schema, GenericRecord event) {
        GenericRecord record = new GenericData.Record(schema);
        record.put("event_time", event.get("event_time"));
        record.put("event_time_text", event.get("event_time_text"));
        record.put("event_id", event.get("event_id"));
        return record;
    }

    private static String market(String code) {
        if (!code.endsWith("LIQUIDATE_ONLY")) {
            return null;
        }
        String market = code.substring(0, code.length() - "LIQUIDATE_ONLY".length()).replaceAll("_+$", "");
        market = market.endsWith("_STOCK") ? market.substring(0, market.length() - "_STOCK".length()) : market;
        return market.isEmpty() ? "ALL" : market;
    }
}
