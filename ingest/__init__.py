"""The write path: MQTT to columns, checks, step, commit, acknowledgement."""
