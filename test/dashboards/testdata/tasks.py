"""A Celery application, and a program that publishes to it: tasks.py SECONDS sends ten tasks a second, of which every
fifth fails, and 150 to the queue "reports", which nobody consumes. Each task that ends writes when into the file DONE."""

import os
import sys
import time

from celery import Celery
from celery.exceptions import Reject

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(worker_send_task_events=True, task_send_sent_event=True, worker_prefetch_multiplier=1)


def done(outcome):
    with open(os.environ["DONE"], "a") as file:
        file.write(f"{time.time()} {outcome}\n")


@app.task(name="shop.send")
def send():
    time.sleep(0.02)
    done("succeeded")


@app.task(name="shop.fail")
def fail():
    done("failed")
    raise ValueError("on purpose")


@app.task(name="shop.flaky", bind=True, max_retries=1, default_retry_delay=0)
def flaky(self):
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    done("succeeded")


@app.task(name="shop.rejected", acks_late=True)
def rejected():
    raise Reject("on purpose", requeue=False)


def publish(seconds):
    for _ in range(150):
        app.send_task("shop.report", queue="reports")
    began = time.monotonic()
    for n in range(10 * seconds):
        time.sleep(max(0, began + n / 10 - time.monotonic()))
        app.send_task("shop.fail" if n % 5 == 4 else "shop.send", queue="emails" if n % 2 else "celery")
        if n % 100 == 0:
            app.send_task("shop.flaky")
            app.send_task("shop.send", expires=-10)


if __name__ == "__main__":
    publish(int(sys.argv[1]))
