"""A page in headless Chromium, until the page itself says that it is done.

Its tag comes back by a form to a server of the test's own. Chromium's virtual time would end the page by a clock that
runs ahead of decoders on a busy machine; a form waits for what happened, and a page that asks for nothing else may
still send one.
"""

from __future__ import annotations

import shutil
import subprocess
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

_PATIENCE_S = 300.0
"""Only a browser that hangs takes so long."""

_SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --no-proxy-server --autoplay-policy=no-user-gesture-required"
)

_SAY = """<script>
(() => {
  const root = document.documentElement;
  const wanted = %s;
  const said = () => "error" in root.dataset || wanted.every((name) => name in root.dataset);
  const say = () => {
    if (!said()) return;
    watch.disconnect();
    const form = document.createElement("form"), field = document.createElement("input");
    form.method = "post";
    form.action = "http://127.0.0.1:%d/";
    field.name = "tag";
    field.value = root.cloneNode(false).outerHTML;
    form.append(field);
    document.body.append(form);
    form.submit();
  };
  const watch = new MutationObserver(say);
  watch.observe(root, { attributes: true });
  say();
})();
</script>"""


def open_in_browser(page: Path, folder: Path, script: str = "", wanted: tuple[str, ...] = ("ready",)) -> str:
    """The ``<html ...>`` tag of a page once its scripts have set every ``data-`` attribute in ``wanted``, or an error.

    ``script`` is added to the end of a copy of the page; ``folder`` is for that copy and for the browser's profile.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("Chromium is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "page.html"
    with _Ear(("127.0.0.1", 0), _Listener) as ear:
        ending = script + _SAY % (list(wanted), ear.server_port) + "</body>"
        copy.write_text(page.read_text("utf-8").replace("</body>", ending), "utf-8")
        command = [browser, *_SWITCHES.split(), f"--user-data-dir={folder / 'profile'}", copy.as_uri()]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            try:
                ear.handle_request()
            finally:
                running.terminate()
    assert ear.heard, f"the page set none of {wanted} in {_PATIENCE_S:g} s"
    return ear.heard


class _Ear(HTTPServer):
    timeout = _PATIENCE_S
    heard = ""


class _Listener(BaseHTTPRequestHandler):
    server: _Ear

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.heard = urllib.parse.parse_qs(body)["tag"][0]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
