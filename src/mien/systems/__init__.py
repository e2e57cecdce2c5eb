"""The papers: one file each, in the room it belongs to; `papers.toml` names all of them."""
