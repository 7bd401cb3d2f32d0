"""The forms of runs as the OpenAPI document has them: each field that is read, and its meaning."""

from typing import Any

from teambus_gateway.catalogue import Kind

Words = dict[str, Any]


def text(description: str, **more: Any) -> Words:
    return {"type": "string", "description": description, **more}


_JSON_OBJECT = {"contentMediaType": "application/json"}

RUN_FORM: Words = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": text("What is asked.", minLength=1),
        "stream": {
            "type": "boolean",
            "default": True,
            "description": "Answer with the run's events as they happen; false: with its end.",
        },
        "stream_events": {
            "type": "boolean",
            "default": True,
            "description": "False: of the leader only text; of the members everything.",
        },
        "background": {
            "type": "boolean",
            "default": False,
            "description": "Do not wait for the end; with stream, number the events in their data.",
        },
        "session_id": text("The session the run belongs to; a new one if absent.", maxLength=512),
        "user_id": text("Who asks.", maxLength=512),
        "run_id": text("The id the run shall have; one that is in use is refused.", maxLength=512),
        "session_state": text("A JSON object merged over the session's state.", **_JSON_OBJECT),
        "dependencies": text("A JSON object for tools and hooks.", **_JSON_OBJECT),
        "metadata": text("A JSON object kept with the run.", **_JSON_OBJECT),
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Images, audio, videos or documents.",
        },
        "files_metadata": text("A JSON array of objects, one for each of `files`.", **_JSON_OBJECT),
        "images": text(
            "A JSON array of images, as objects with base64 `content` or `url`.", **_JSON_OBJECT
        ),
        "audio": text("A JSON array of sounds with base64 `content`.", **_JSON_OBJECT),
        "videos": text("A JSON array of videos with base64 `content` or `url`.", **_JSON_OBJECT),
        "input_files": text("A JSON array of documents with base64 `content`.", **_JSON_OBJECT),
        "add_history_to_context": {
            "type": "boolean",
            "description": "Show the model earlier runs of the session.",
        },
    },
}

CONTINUE_FORM: Words = {
    "type": "object",
    "required": ["session_id"],
    "properties": {
        "session_id": RUN_FORM["properties"]["session_id"]
        | {"description": "The session the run belongs to, and so will the new one."},
        "input": text("What is asked now; without it the model is asked to go on."),
        "continue_from": text(
            "How much of the run is kept: `end`, `last_user`, or a number of messages.",
            default="end",
        ),
        "fork": {"type": "boolean", "description": "Said for you: the run stays as it is."},
        "regenerate": {"type": "boolean", "description": "Make the last answer anew."},
        "replace_original": {
            "type": "boolean",
            "description": "With regenerate: false keeps the old answer in the history as well.",
        },
        "additional_instructions": text("With regenerate: what to heed this time."),
        **{
            name: RUN_FORM["properties"][name]
            for name in (
                "stream",
                "stream_events",
                "background",
                "user_id",
                "dependencies",
                "metadata",
            )
        },
    },
}

RESUME_FORM: Words = {
    "type": "object",
    "properties": {
        "last_event_index": {"type": "integer", "description": "The number of the last event had."},
        "session_id": text("The session the run belongs to; old runs are found only with it."),
    },
}


def continue_form(kind: Kind) -> Words:
    name = "requirements" if kind == "team" else "tools"
    answers = text("A JSON array of objects that answer a paused run; none pauses.", **_JSON_OBJECT)
    return CONTINUE_FORM | {"properties": {**CONTINUE_FORM["properties"], name: answers}}
