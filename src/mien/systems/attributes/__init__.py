"""Age, gender and other attributes."""
