"""One machine: everything as real processes under one supervisor, with a nats-server of its own."""
