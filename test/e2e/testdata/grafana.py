"""A fake of Grafana and of its sidecar: it has the dashboards of the ConfigMaps that the sidecar would take, and serves
for them the few resources of Grafana's API that obstack asks."""

import http.server
import json
import os
import ssl
import urllib.parse
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"


def dashboards():
    """Reads the dashboards from the ConfigMaps of all namespaces."""
    label = urllib.parse.quote(f"{os.environ['LABEL']}={os.environ['LABEL_VALUE']}")
    with open(ACCOUNT + "token") as token:
        request = urllib.request.Request(
            f"https://kubernetes.default.svc/api/v1/configmaps?labelSelector={label}",
            headers={"Authorization": f"Bearer {token.read()}"},
        )
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ACCOUNT + "ca.crt")) as response:
        maps = json.load(response)["items"]
    return [json.loads(content) for one in maps for content in (one.get("data") or {}).values()]


class Grafana(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        page = urllib.parse.parse_qs(url.query).get("page", ["1"])[0]
        if url.path == "/api/health":
            self.reply(200, {"database": "ok", "version": "13.1.0"})
        elif self.headers.get("Authorization") != f"Bearer {os.environ['TOKEN']}":
            self.reply(401, {"message": "Unauthorized"})
        elif url.path == "/api/search":
            found = dashboards() if page == "1" else []
            self.reply(200, [{"uid": d["uid"], "title": d["title"], "type": "dash-db", "tags": d["tags"]} for d in found])
        elif url.path == "/api/datasources/uid/prometheus":
            self.reply(200, {"uid": "prometheus", "name": "Prometheus", "type": "prometheus"})
        else:
            self.reply(404, {"message": "Not found"})


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", 3000), Grafana).serve_forever()
