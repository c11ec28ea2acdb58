"""The stack on this machine: an embedded Kafka and registry, the brokerage's push simulated, the demo."""
