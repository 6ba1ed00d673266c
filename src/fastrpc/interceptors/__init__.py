"""Interceptors for operating a service: a log of calls, and traces.

May import calls and the layers below. Each interceptor loads what it needs when it is made.
"""

from fastrpc.interceptors.access_log import AccessLog
from fastrpc.interceptors.open_telemetry import OpenTelemetry

__all__ = ["AccessLog", "OpenTelemetry"]
