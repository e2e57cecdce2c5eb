"""Writes what was found: drawings, tables, pages, metadata, blurred copies."""
