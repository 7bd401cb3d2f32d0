"""Delivers run-completed events to hooks."""
