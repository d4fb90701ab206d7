"""A read-only PostgreSQL server over a lake: Grafana, psql and any PostgreSQL client ask it."""
