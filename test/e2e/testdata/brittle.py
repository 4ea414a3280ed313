"""Breaks where it has the bundle for Python, and nowhere else: the first argument says how."""

import http.server
import pathlib
import sys
import time

how, broken = sys.argv[1], "_obstack" in sys.modules

if how == "exit" and broken:
    said = "the password is " + "".join(["hunt", "er2"])  # Not as a literal: nobody is to know it from here.
    print(said, file=sys.stderr, flush=True)
    pathlib.Path("/dev/termination-log").write_text(said)
    sys.exit(3)
if how == "exit":
    time.sleep(10**9)


class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if broken else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.HTTPServer(("", 8000), Door).serve_forever()
