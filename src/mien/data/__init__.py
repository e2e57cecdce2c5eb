"""Data sets: which there are, making them from official layouts, reading, keeping train and test apart."""
