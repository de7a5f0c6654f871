"""Promises about money, kept while processes are killed and fight for the same files."""
