"""Expression and affect."""
