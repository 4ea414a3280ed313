"""A Celery application, and a program that publishes to it: tasks.py SECONDS sends ten tasks a second, of which every
fifth fails, and 150 to the queue "reports", which nobody consumes. It prints how many it sent of each, as JSON."""

import json
import os
import sys
import time

from celery import Celery
from celery.exceptions import Reject

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(worker_send_task_events=True, task_send_sent_event=True, worker_prefetch_multiplier=1)


@app.task(name="shop.send")
def send():
    time.sleep(0.02)


@app.task(name="shop.fail")
def fail():
    raise ValueError("on purpose")


@app.task(name="shop.flaky", bind=True, max_retries=1, default_retry_delay=0)
def flaky(self):
    if self.request.retries < 1:
        raise self.retry(countdown=0)


@app.task(name="shop.rejected", acks_late=True)
def rejected():
    raise Reject("on purpose", requeue=False)


def publish(seconds):
    sent = {}

    def order(name, **options):
        app.send_task(name, **options)
        sent[name] = sent.get(name, 0) + 1

    for _ in range(150):
        order("shop.report", queue="reports")
    began = time.monotonic()
    for n in range(10 * seconds):
        time.sleep(max(0, began + n / 10 - time.monotonic()))
        order("shop.fail" if n % 5 == 4 else "shop.send", queue="emails" if n % 2 else "celery")
        if n % 100 == 0:
            order("shop.flaky")
            order("shop.send", expires=-10)
    print(json.dumps(sent))


if __name__ == "__main__":
    publish(int(sys.argv[1]))
