"""The page to look at: one HTML file, which fetches nothing from elsewhere and runs no script but its own."""

from __future__ import annotations

import secrets
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

__all__ = ["router"]


def router() -> APIRouter:
    """The path of the page."""
    routes = APIRouter(tags=["page"])
    text = files("slirpy.control").joinpath("page.html").read_text(encoding="utf-8")

    @routes.get("/", response_class=HTMLResponse, operation_id="page")
    async def page() -> HTMLResponse:
        """Show the network live, in a browser: open `/?token=TOKEN`."""
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(text.replace("NONCE", nonce), headers=headers)

    return routes
