"""Sharing the processors with the processes beside this one."""

import os
import sys

import structlog

log = structlog.get_logger(__name__)


def interrupt_nobody() -> None:
    """Have this process, when it is woken, wait for the turn of those at work to end: milliseconds.

    Services that hand work to each other interrupt each other all the time otherwise, and each
    finds its caches cold: on two full processors a run costs a tenth more. Only Linux knows this,
    and a way of scheduling that somebody chose for this process stays.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        log.info("not scheduled as a worker", why=str(error))
