"""What tests share: the system as real processes, and ways to look at it from outside."""
