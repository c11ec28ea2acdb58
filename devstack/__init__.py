"""The stack on this machine: an embedded broker and registry, the broker's push simulated, the demo."""
