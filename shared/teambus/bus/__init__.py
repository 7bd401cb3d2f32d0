"""The bus: the only code that speaks to NATS."""
