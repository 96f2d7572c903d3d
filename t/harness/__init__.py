"""What the tests stand on: nginx as a process, and HTTP as bytes."""

from .client import Connection, Response, Truncated
from .nginx import Nginx, NginxError

__all__ = ["Connection", "Nginx", "NginxError", "Response", "Truncated"]
