"""HTTP in, run requests out; the completed event comes back as the reply."""
