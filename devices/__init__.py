"""What runs on a gateway: signals, wire format, sources, delivery."""
