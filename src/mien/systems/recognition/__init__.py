"""Recognition: telling people apart."""
