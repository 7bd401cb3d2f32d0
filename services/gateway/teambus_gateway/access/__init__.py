"""Who may do what over HTTP: who asks, what that may be, and how often."""
