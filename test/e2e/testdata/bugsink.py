"""Bugsink, an error tracker that takes what Sentry's SDKs send, with a door beside it: whoever asks port 8001 asks
Bugsink's API as its administrator. The API server keeps the Authorization header of what it proxies to itself, so the
tests could not show a token."""

import http.server
import os
import subprocess
import sys
import urllib.error
import urllib.request

BIN = os.path.dirname(sys.executable)
HOST = os.environ["BASE_URL"].removeprefix("http://")


def run(program, *args):
    return subprocess.run([sys.executable, f"{BIN}/{program}", *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def prepare():
    """Makes the configuration and the databases and returns a token for the API."""
    run("bugsink-create-conf", "--template=docker", "--port", HOST.split(":")[1], "--host", HOST.split(":")[0])
    with open("bugsink_conf.py", "a") as conf:
        conf.write('SNAPPEA["TASK_ALWAYS_EAGER"] = True\n')  # what comes in is stored before the response
    run("bugsink-manage", "migrate", "-v0")
    run("bugsink-manage", "migrate", "snappea", "--database=snappea", "-v0")
    run("bugsink-manage", "prestart")
    return run("bugsink-manage", "create_auth_token").split()[-1]


class Door(http.server.BaseHTTPRequestHandler):
    token = ""

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = urllib.request.Request(
            f"http://127.0.0.1:{HOST.split(':')[1]}{self.path}",
            data=body or None,
            headers={"Authorization": f"Bearer {self.token}", "Host": HOST, "Content-Type": "application/json"},
        )
        try:
            response = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            response = error
        except OSError:  # Bugsink has not started yet
            self.send_error(503)
            return
        content = response.read()
        self.send_response(response.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.environ["DATABASE_PATH"]))
    Door.token = prepare()
    subprocess.Popen([
        sys.executable, f"{BIN}/gunicorn", f"--bind=0.0.0.0:{HOST.split(':')[1]}", "--workers=1", "--threads=4", "bugsink.wsgi"
    ])
    http.server.ThreadingHTTPServer(("", 8001), Door).serve_forever()
