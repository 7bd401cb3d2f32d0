"""Sending webhooks; imported only by a hook process whose app has one."""
