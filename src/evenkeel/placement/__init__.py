"""Where VMs and reservations go: shortfall odds, the calendar, allocation, consolidation. Pure."""
