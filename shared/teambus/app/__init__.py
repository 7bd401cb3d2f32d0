"""What users write against: declarations, without bus, web framework or model client."""
