"""Load and faults at random over the whole system, then a reckoning from outside."""
