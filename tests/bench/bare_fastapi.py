"""The least a FastAPI endpoint does: read the form, answer JSON."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.post("/")
async def answer(request: Request) -> dict[str, str]:
    form = await request.form()
    return {"message": str(form["message"])}
