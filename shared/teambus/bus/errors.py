"""What can go wrong on the bus, one class for each thing a caller does differently."""


class BusError(Exception):
    """something went wrong on the bus"""


class BusUnavailable(BusError):
    """the bus did not answer in time; whether it took the message is unknown"""


class NotPermitted(BusUnavailable):
    """this process lacks the right to do that"""


class BusRefused(BusError):
    """the bus answered with an error that repeating does not change"""

    def __init__(self, description: str, err_code: int) -> None:
        super().__init__(f"{description} (err {err_code})")
        self.err_code = err_code


class WrongLastSequence(BusRefused):
    """a compare-and-set lost, or won earlier with its answer lost"""


class QuotaExceeded(BusRefused):
    """the quota of this tenant and team is used up"""


class StreamFull(BusRefused):
    """a stream is full"""


class TopologyMismatch(BusError):
    """the streams or consumers are not what this version needs"""
