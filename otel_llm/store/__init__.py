"""The local SQLite store: its schema and the questions one can ask it."""
