"""A process that saves in the same sessions as its rival, and says of each run what became of it.

Called with the url, the schema, and whether its fences are the odd or the even ones.
"""

import asyncio
import sys

from teambus.app.databases import AsyncPostgresDb
from teambus_team_runner.sessions import (
    SessionStore,
    StoreFenced,
    StoreSettings,
    StoreUnavailable,
    open_store,
)
from tests.integration.session_runs import run_write

SESSIONS = 3
FENCES = 60


async def _save(store: SessionStore, session: int, fence: int) -> str:
    write = run_write(f"{session}-{fence}", fence, str(session), state={"fence": fence})
    while True:
        try:
            await store.save(write)
        except StoreFenced:
            return "fenced"
        except StoreUnavailable as error:
            print("again", error, file=sys.stderr)
        else:
            return "saved"


async def _save_all(store: SessionStore, session: int, first: int) -> None:
    for fence in range(first, FENCES, 2):
        print(session, fence, await _save(store, session, fence), flush=True)


async def main(url: str, schema: str, first: str) -> None:
    store = await open_store(AsyncPostgresDb(db_url=url, db_schema=schema), StoreSettings())
    print("open", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(_save_all(store, n, int(first)) for n in range(SESSIONS)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
