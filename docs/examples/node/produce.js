// Sends one purchase, and returns when all replicas have it: npm install && node produce.js

import { randomUUID } from "node:crypto";
import { compatibilityPartitioner, ProduceAcks, Producer, stringSerializers } from "@platformatic/kafka";

const producer = new Producer({
  clientId: "shop",
  bootstrapBrokers: ["127.0.0.1:9092"],
  serializers: stringSerializers,
  partitioner: compatibilityPartitioner, // as Java and aiokafka do; the default would put users elsewhere
  acks: ProduceAcks.ALL,
});
const event = {
  event_id: randomUUID(), // make it once and keep it with the event: sent again, it counts once
  type: "purchase",
  user_id: "ann",
  item_id: "milk",
  event_time_ms: Date.now(),
  value: 2,
};
await producer.send({ messages: [{ topic: "events", key: event.user_id, value: JSON.stringify(event) }] });
await producer.close();
