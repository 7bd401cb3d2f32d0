"""A process that saves runs until it is killed, and names each run once it is saved.

Called with the database file; it saves in a few sessions at once, each run as large as real ones,
until a file would become larger than it may.
"""

import asyncio
import resource
import sys
from itertools import count

from teambus.app.databases import AsyncSqliteDb
from teambus_team_runner.sessions import SessionStore, StoreSettings, open_store
from tests.integration.session_runs import message, run_write

SESSIONS = 8


async def _save_for_ever(store: SessionStore, session: int, first: int) -> None:
    for fence in count(first):
        run_id = f"{session}-{fence}"
        long_words = [message("assistant", "word " * 4000)]
        await store.save(
            run_write(run_id, fence, str(session), state={"fence": fence}, messages=long_words)
        )
        print(run_id, flush=True)


async def main(file: str, first: str, file_bytes_max: str) -> None:
    limit = int(file_bytes_max)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    store = await open_store(AsyncSqliteDb(db_file=file), StoreSettings())
    await asyncio.gather(*(_save_for_ever(store, n, int(first)) for n in range(SESSIONS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
