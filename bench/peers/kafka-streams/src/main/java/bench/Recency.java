package bench;

import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.avro.generic.GenericRecord;

/** Which of two events is the newer one: by time, at the same instant by nanoseconds, then by the rank of the type. */
final class Recency {
    private static final Map<String, Integer> RANKS = Map.of(
            "ACCOUNT_UNRESTRICTED", 0, "ACCOUNT_RESTRICT", 1, "ACCOUNT_CLOSE", 2, "ACCOUNT_INFO_UPDATE", 3,
            "VIRTUAL_ACCOUNT_BCAN_UPDATE", 4, "ACCOUNT_UPDATE", 5);
    private static final Pattern SUB_MICROSECOND = Pattern.compile("\\.[0-9]{6}([0-9]{1,3})");

    private Recency() {}

    static boolean isOlder(GenericRecord event, GenericRecord than) {
        long time = (Long) event.get("event_time");
        long other = (Long) than.get("event_time");
        return time != other ? time < other : nanoseconds(event) < nanoseconds(than);
    }

    static boolean yieldsTo(GenericRecord event, GenericRecord stated) {
        long time = (Long) event.get("event_time");
        long other = (Long) stated.get("event_time");
        if (time != other) {
            return time < other;
        }
        int digits = Integer.compare(nanoseconds(event), nanoseconds(stated));
        return digits != 0 ? digits < 0 : rank(event) < rank(stated);
    }

    private static int rank(GenericRecord event) {
        return RANKS.get(event.get("biz_type").toString());
    }

    private static int nanoseconds(GenericRecord event) {
        Matcher digits = SUB_MICROSECOND.matcher(event.get("event_time_text").toString());
        return digits.find() ? Integer.parseInt((digits.group(1) + "00").substring(0, 3)) : 0;
    }
}
