# SPDX-License-Identifier: Apache-2.0
"""The shop's tasks for make demo PYTHON=1. No line of them is for observability."""

import logging
import os
import random
import time

from celery import Celery

app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])
log = logging.getLogger("shop.tasks")


@app.task
def pay(order):
    """Fail every seventh time."""
    time.sleep(0.05 * (1 + random.random()))
    if order % 7 == 0:
        raise ValueError("the card is refused")
    log.info("paid", extra={"order": order})
