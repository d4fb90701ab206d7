"""Pure kernels: readings in, emissions and rollups out. No I/O, clock or logging."""
