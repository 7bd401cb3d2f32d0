"""A team whose runs are posted to whoever is named in the environment."""

import os

from teambus import Agent, OpenAIChat, Team, TeamBus, WebhookHook

books = WebhookHook(
    os.environ["RECEIVER_URL"],
    secret_env="BOOKS_SECRET",
    name="books",
    backoff_s=0.2,
    networks_allowed=["127.0.0.0/8"],
)
desk = Team(
    id="desk", model=OpenAIChat(id="gpt-5.2"), members=[Agent(name="Writer")], post_hooks=[books]
)
app = TeamBus(id="webhooks", teams=[desk])
