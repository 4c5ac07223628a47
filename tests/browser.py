"""A page in headless Chromium, until the page itself says that it is done.

Its tag comes back by a form to a server of the test's own. Chromium's virtual time would end the page by a clock that
runs ahead of decoders on a busy machine; a form waits for what happened, and a page that asks for nothing else may
still send one.
"""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

_PATIENCE_S, _GRACE_S = 120.0, 10.0
"""Only a browser that hangs takes so long to answer, or to end."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --no-proxy-server --autoplay-policy=no-user-gesture-required"
)

_SAY = """<script>
(() => {
  const root = document.documentElement;
  const wanted = %s;
  const said = () => "error" in root.dataset || wanted.every((name) => name in root.dataset);
  const send = () => {
    const form = document.createElement("form"), field = document.createElement("input");
    form.method = "post";
    form.action = "http://127.0.0.1:%d/";
    field.name = "tag";
    field.value = root.cloneNode(false).outerHTML;
    form.append(field);
    document.body.append(form);
    form.submit();
  };
  // What went wrong by then is told in tasks of its own, and those come first.
  const say = () => {
    if (!said()) return;
    watch.disconnect();
    setTimeout(() => setTimeout(send, 100), 100);
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
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip("Chromium is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    copy, log = folder / "page.html", folder / "browser.log"
    with _Ear(("127.0.0.1", 0), _Listener) as ear, log.open("wb") as errors:
        ending = script + _SAY % (list(wanted), ear.server_address[1]) + "</body>"
        copy.write_text(page.read_text("utf-8").replace("</body>", ending), "utf-8")
        command = [browser, *_SWITCHES.split(), f"--user-data-dir={folder / 'profile'}", copy.as_uri()]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            end = time.monotonic() + _PATIENCE_S
            while not ear.heard and running.poll() is None and time.monotonic() < end:
                ear.handle_request()
        finally:
            code = running.poll()
            _stop(running)
    said = log.read_text("utf-8", "replace")[-2000:]
    assert ear.heard, f"no answer; the browser's exit code: {code}; its log: {said}"
    return ear.heard


def _stop(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


class _Ear(socketserver.TCPServer):
    timeout = 1.0
    heard = ""


class _Listener(BaseHTTPRequestHandler):
    timeout = 10.0
    server: _Ear

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.heard = urllib.parse.parse_qs(body)["tag"][0]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
