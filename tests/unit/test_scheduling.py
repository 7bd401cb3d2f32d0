"""How a service shares the processors."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told")

ASKED = """
import os
from teambus.runtime.scheduling import interrupt_nobody
os.sched_setscheduler(0, os.{before}, os.sched_param(0))
interrupt_nobody()
print(os.sched_getscheduler(0) == os.{after})
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")],
)
def test_a_service_interrupts_nobody_unless_told_how_it_is_scheduled(
    before: str, after: str
) -> None:
    program = ASKED.format(before=before, after=after)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.strip() == b"True"
