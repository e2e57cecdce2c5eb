"""People: a gallery of faces with names, and who a face is."""
