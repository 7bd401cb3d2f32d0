"""The real supervisor over stand-in services, with the options of `teambus serve`."""

import asyncio
import os
import sys

from teambus.cli.options import environment, parse
from teambus.local.errors import LocalError
from teambus.local.plan import LISTEN_FD, Plan, ServiceSpec
from teambus.local.settings import ServeSettings
from teambus.local.supervisor import serve
from teambus.runtime.management import report
from teambus.runtime.settings import read_settings

DRAIN_S = 2


def plan(settings: ServeSettings, nats_url: str, listen_fd: int) -> Plan:
    folder = os.environ["STANDIN_FOLDER"]
    variables = {
        **os.environ,
        "NATS_URL": nats_url,
        "TEAMBUS_APP_DIR": str(settings.app_dir.absolute()),
    }

    def service(name: str, **descriptors: int) -> ServiceSpec:
        arguments = ("-m", "tests.support.standin_service", name, folder)
        return ServiceSpec(name, arguments, variables, DRAIN_S, descriptors)

    return Plan(
        load=service("load"),
        runners=(service("team-runner"), service("hook-runner")),
        gateway=service("gateway", **{LISTEN_FD: listen_fd}),
    )


def main() -> int:
    options = parse(["serve", *sys.argv[1:]])
    settings = read_settings(ServeSettings, "TEAMBUS", environment(options, os.environ))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        asyncio.run(serve(settings, say, watch_fd=options.watch_fd, planner=plan))
    except LocalError as error:
        report(error=str(error))
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
