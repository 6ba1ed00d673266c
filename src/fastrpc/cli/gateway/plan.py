"""Shared parts of the plans of `fastrpc gateway` and `fastrpc console`: their App, their settings, their run."""

from dataclasses import replace

from fastrpc.cli.log_output import install_logging
from fastrpc.cli.serving.reports import run_reported
from fastrpc.cli.settings import RunSettings
from fastrpc.errors import ConfigError
from fastrpc.gateway.addresses import http_url
from fastrpc.handlers.import_string import import_from_string
from fastrpc.workers.app import App, app_of
from fastrpc.workers.plan import ExitCode, Plan
from fastrpc.workers.serve import run as run_plan

__all__ = ["check_without_effect", "front_app", "serve_front"]


def serve_front(plan: Plan, settings: RunSettings) -> ExitCode:
    """Serve, with the log level and format of the settings."""
    install_logging(
        settings.log_level, is_demanded=settings.log_level_is_demanded, log_format=settings.log_format
    )
    return run_reported(lambda: _run(plan), settings)


def _run(plan: Plan) -> ExitCode:
    """Serve; if an address is unavailable, the error names it as an HTTP URL, as the user did."""
    try:
        return run_plan(plan)
    except OSError as error:
        text = error.strerror
        if text is not None:
            for address in plan.addresses:
                text = text.replace(f" {address}: ", f" {http_url(str(address))}: ")
            error.strerror = text
        raise


def check_without_effect(settings: RunSettings, what: str) -> None:
    """Refuse settings of `fastrpc run` that would have no effect on `what`, such as "a gateway"."""
    for key in ("tokens", "policy"):
        if getattr(settings, key) is not None:
            raise ConfigError(
                f"{key} has no effect on {what}",
                hint="give --app with App([], authenticate=…, authorize=…)",
            )


def front_app(text: str) -> App:
    """Return the App that an import string names."""
    found = app_of(import_from_string(text, sought="an App", example="app"))
    if found is None or list(found.sources):
        raise ConfigError(
            f"{text} is not an App without sources", hint="write app = fastrpc.App([], limits=…)"
        )
    return replace(found, registry=None)
