"""A Django service with django-prometheus: python django_app.py PORT."""

import sys
import time

from django.conf import settings

settings.configure(
    SECRET_KEY="of a test",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["django_prometheus"],
    MIDDLEWARE=[
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
    LOGGING_CONFIG=None,
)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402


def item(_, item):
    return JsonResponse({"item": item})


@csrf_exempt
def order(_):
    return JsonResponse({"ordered": True})


def slow(_, milliseconds):
    time.sleep(milliseconds / 1000)
    return JsonResponse({"slept": milliseconds})


def fail(_):
    raise RuntimeError("on purpose")


urlpatterns = [
    path("items/<int:item>", item, name="item"),
    path("orders", order, name="order"),
    path("slow/<int:milliseconds>", slow, name="slow"),
    path("fail", fail, name="fail"),
]

if __name__ == "__main__":
    from prometheus_client import make_wsgi_app
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.serving import WSGIRequestHandler, run_simple

    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # or each request waits for a connection of its own
    # Beside Django, or the scrapes would count as requests.
    app = DispatcherMiddleware(get_wsgi_application(), {"/metrics": make_wsgi_app()})
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
