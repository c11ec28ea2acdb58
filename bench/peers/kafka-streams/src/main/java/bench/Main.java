package bench;

import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** `Main router|projector JOB.json THREADS`: runs until SIGTERM. */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        Job job = Job.read(arguments[1]);
        Topology topology = arguments[0].equals("router") ? Router.topology(job) : Projector.topology(job);
        KafkaStreams streams = new KafkaStreams(topology, configuration(job, arguments[2]));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            ended.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
        System.exit(70);
    }

    /** Throughput first, within the same guarantee and commit interval as the others. */
    private static Properties configuration(Job job, String threads) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, job.text("group"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.text("bootstrap_servers"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, job.text("commit_interval_ms"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, job.text("folder"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, "10000");
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, String.valueOf(256L << 20));
        properties.put("auto.offset.reset", "earliest");
        properties.put("consumer.max.poll.records", "5000");
        properties.put("consumer.fetch.max.wait.ms", "100");
        properties.put("producer.compression.type", "lz4");
        properties.put("producer.linger.ms", "20");
        properties.put("producer.batch.size", "262144");
        properties.put("producer.buffer.memory", String.valueOf(128L << 20));
        return properties;
    }
}
