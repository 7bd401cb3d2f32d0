"""Compatibility with AgentOS, proven against the real one and its client."""
