"""The whole system as real processes, broken on purpose."""
