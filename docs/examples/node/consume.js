// Prints each slate once, and goes on after a restart where it stopped: npm install && node consume.js

import { Consumer, FetchIsolationLevels, MessagesStreamModes, stringDeserializers } from "@platformatic/kafka";

const consumer = new Consumer({
  clientId: "shop",
  groupId: "shop-front",
  bootstrapBrokers: ["127.0.0.1:9092"],
  deserializers: stringDeserializers,
  isolationLevel: FetchIsolationLevels.READ_COMMITTED,
});
const slates = await consumer.consume({
  topics: ["recommendations"],
  mode: MessagesStreamModes.COMMITTED,
  fallbackMode: "earliest",
  autocommit: true,
});
for await (const { value } of slates) {
  const slate = JSON.parse(value);
  console.log(slate.user_id, slate.slate_id, slate.items.map((item) => item.item_id).join(" "));
}
