"""The results of a run: the record, its formats, and files that are never half written."""
