"""A FastAPI service and a Celery worker with not one line for Sentry, logs, metrics or task events."""

import logging
import os
import urllib.request

from celery import Celery
from fastapi import FastAPI

log = logging.getLogger("plain")

tasks = Celery("plain", broker=os.environ["BROKER"])


@tasks.task(name="plain.deliver")
def deliver(order: int):
    log.warning("delivered", extra={"order": order})


@tasks.task(name="plain.visit")
def visit():
    """Asks the service for what fails, which is an error here as well."""
    # Not as a literal: Sentry shows the lines of the program.
    headers = {"Authorization": "Bearer " + "-".join(["a", "secret", "of", "the", "task"])}
    urllib.request.urlopen(urllib.request.Request("http://api/fail/1", headers=headers), timeout=10)


api = FastAPI()


@api.get("/health")
def health():
    return {}


@api.post("/orders/{order}")
def orders(order: int):
    log.warning("ordered", extra={"order": order})
    deliver.delay(order)
    return {}


@api.post("/visits")
def visits():
    visit.delay()
    return {}


@api.get("/fail/{order}")
def fail(order: int):
    raise RuntimeError("a service fails on purpose")
