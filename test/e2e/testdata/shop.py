"""The shop: a FastAPI service (python -m uvicorn shop:api) and a Celery worker (python -m celery -A shop worker -E),
which know of obstack no more than the variables that it sets."""

import os

import sentry_sdk
from celery import Celery
from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator

sentry_sdk.init()  # SENTRY_DSN, SENTRY_ENVIRONMENT, SENTRY_RELEASE

tasks = Celery("shop", broker=os.environ["BROKER"])
tasks.conf.task_send_sent_event = True


@tasks.task(name="shop.deliver")
def deliver(order: int):
    if order < 0:
        raise ValueError("a worker fails on purpose")


api = FastAPI()
Instrumentator(excluded_handlers=["/metrics"]).instrument(api).expose(api)


@api.post("/orders/{order}")
def orders(order: int):
    deliver.delay(order)
    return {}


@api.get("/environment")
def environment():
    """Says what the process was started with."""
    return dict(os.environ)


@api.get("/fail")
def fail():
    raise RuntimeError("a service fails on purpose")
