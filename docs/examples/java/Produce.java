// Sends one purchase, and returns when all replicas have it: java -cp 'libs/*' Produce.java

import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Produce {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", "127.0.0.1:9092");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            String user = "ann";
            // Make the id once and keep it with the event: sent again, it counts once.
            String event = """
                {"event_id": "%s", "type": "purchase", "user_id": "%s", "item_id": "milk", "event_time_ms": %d, "value": 2}
                """.formatted(UUID.randomUUID(), user, System.currentTimeMillis());
            producer.send(new ProducerRecord<>("events", user, event)).get();
        }
    }
}
