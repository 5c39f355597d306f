"""What the pages of tools have in common: served to this machine alone, and asking nothing of others."""

import os
import secrets
from pathlib import Path

import flask
import jinja2

from stages.shared.pipeline.command import UserError
from tools.shared.server import Server

HOST = "127.0.0.1"
NONCE = secrets.token_urlsafe()  # one for all answers, as a page's script takes results out of later ones
POLICY = (
    f"default-src 'none'; img-src data:; style-src 'nonce-{NONCE}'; script-src 'nonce-{NONCE}'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_page(folder: Path, largest: int) -> flask.Flask:
    """Return an application without routes, whose templates lie in `folder`, for requests of up to `largest` bytes.

    It refuses what another site sends, and what comes by a name that another site lets point here.
    """
    app = flask.Flask(__name__, template_folder=folder, static_folder=None)
    app.jinja_options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.config["MAX_CONTENT_LENGTH"] = largest
    app.config["TRUSTED_HOSTS"] = [HOST, "localhost"]

    @app.before_request
    def refuse_others():
        request = flask.request
        if request.method == "POST" and request.origin not in (None, request.host_url.rstrip("/")):
            flask.abort(403, "This page takes forms from itself only.")

    @app.after_request
    def protect(response):
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return app


def listen(port: int, app: flask.Flask, tool: str) -> Server:
    """Return the server of `app`, the page of `tool`; raises UserError where `port` cannot be used."""
    try:
        return Server((HOST, port), app)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "there are 0 to 65535"
        raise UserError(
            f"port {port} cannot be used ({reason}): python -m tools.{tool} --port 0 takes any that is free."
        ) from None


def serve(server: Server) -> None:
    """Say where the page is, and answer until the process is ended."""
    print(f"http://{HOST}:{server.server_port}, Ctrl-C ends it", flush=True)
    server.serve_forever()
