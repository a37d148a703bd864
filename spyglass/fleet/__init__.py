"""Snapshots of many processes as Parquet files, and questions about them (extra ``fleet``: pyarrow, DuckDB)."""
