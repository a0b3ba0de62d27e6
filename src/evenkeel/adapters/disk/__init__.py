"""What an agent keeps on its own disk: journal, spool and last policy."""
