"""Images -> tar + table + marker, and back. The format is in ``shards/README.md``."""
