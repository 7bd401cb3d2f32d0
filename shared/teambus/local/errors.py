"""What stops local mode, in words for whoever started it."""


class LocalError(Exception):
    """something on this machine is not as needed; the text says what to do"""


class StoreInUse(LocalError):
    """another nats-server has this store open"""


class Refused(LocalError):
    """a service or the app was refused for good: only a change by the user helps"""
