"""Parquet on disk behind Delta logs, and the SQL over it."""
