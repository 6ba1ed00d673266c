"""Interceptors for operating a service: an access log, and traces.

This package may import calls and the layers below. Each interceptor imports its dependencies when it is created.
"""

from fastrpc.interceptors.access_log import AccessLog
from fastrpc.interceptors.open_telemetry import OpenTelemetry

__all__ = ["AccessLog", "OpenTelemetry"]
