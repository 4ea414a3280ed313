# SPDX-License-Identifier: Apache-2.0
"""The shop's HTTP service for make demo PYTHON=1. No line of it is for observability."""

import asyncio
import itertools
import logging
import random

from fastapi import FastAPI, HTTPException

from shop.tasks import pay

app = FastAPI()
log = logging.getLogger("shop.api")
orders = itertools.count(1)


async def wait(shortest):
    """Wait from shortest to twice that, in seconds."""
    await asyncio.sleep(shortest * (1 + random.random()))


@app.get("/healthz")
async def healthz():
    return "well"


@app.get("/items")
async def items():
    await wait(0.02)
    return []


@app.get("/items/{item}")
async def item(item: str):
    await wait(0.01)
    if item == "unknown":
        raise HTTPException(404)
    return item


@app.get("/search")
async def search():
    await wait(0.25)
    return []


@app.post("/orders", status_code=201)
async def order():
    """Fail every fifth time, as if the payment provider were overloaded."""
    await wait(0.08)
    number = next(orders)
    if number % 5 == 0:
        raise ConnectionError("the payment provider is overloaded")
    pay.delay(number)
    log.info("ordered", extra={"order": number})
    return number
