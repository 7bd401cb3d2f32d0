"""An app that posts what its runs came to. Only the hook-runner has the secret."""

import os

from teambus import Agent, OpenAIChat, Team, TeamBus, WebhookHook

books = WebhookHook(
    os.environ["RECEIVER_URL"],
    secret_env="BOOKS_SECRET",
    name="books",
    attempts_max=3,
    backoff_s=0.1,
)
pages = WebhookHook(
    os.environ["RECEIVER_URL"], secret_env="BOOKS_SECRET", name="pages", backoff_s=0.1
)
hasty = WebhookHook(
    os.environ["RECEIVER_URL"],
    secret_env="BOOKS_SECRET",
    name="hasty",
    backoff_s=0.1,
    timeout_s=0.5,
)
MODEL = OpenAIChat(id="m")
desk = Team(id="desk", model=MODEL, members=[Agent(name="Clerk")], post_hooks=[books])
house = Team(id="house", model=MODEL, members=[Agent(name="Writer", post_hooks=[pages])])
press = Team(id="press", model=MODEL, members=[Agent(name="Clerk")], post_hooks=[hasty])
poet = Agent(name="Poet", model=MODEL, post_hooks=[books])
app = TeamBus(id="posting", teams=[desk, house, press], agents=[poet])
