"""Grafana dashboards, alert rules and provisioning as code, over the SQL server and Grafana's core PostgreSQL data source."""
