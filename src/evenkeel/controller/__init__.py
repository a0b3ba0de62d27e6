"""The central service: takes batches in, keeps the record, hands out policy."""
