"""A FastAPI service that does nothing for its metrics: python python_app.py PORT."""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item}")
async def item(item: int):
    return {"item": item}


@app.post("/orders")
async def order():
    return {"ordered": True}


@app.get("/slow/{milliseconds}")
async def slow(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return {"slept": milliseconds}


@app.get("/fail")
async def fail():
    raise RuntimeError("on purpose")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
