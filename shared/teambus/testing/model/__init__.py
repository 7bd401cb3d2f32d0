"""A scripted OpenAI-compatible model server: deterministic, local, and able to fail on command.

Run it with `python -P -m teambus.testing.model`, or start it in a test:

    async with ModelServer() as model:
        await model.rules([{"match": "tea", "reply": "Green tea.", "times": 1}])
        ...  # point OPENAI_BASE_URL at model.base_url
        assert [call.outcome for call in await model.calls()] == ["answered"]
"""

from teambus.testing.model.calls import ScriptedCall
from teambus.testing.model.driver import ModelServer, ModelServerError
from teambus.testing.model.rules import Rule

__all__ = ["ModelServer", "ModelServerError", "Rule", "ScriptedCall"]
