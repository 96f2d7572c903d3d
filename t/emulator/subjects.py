"""An endpoint that hands out subject tokens, as Azure's does."""

from __future__ import annotations

from dataclasses import dataclass, field

from .service import Context, Service
from .wire import Response


@dataclass
class Subject:
    body: str
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)   # required
    status: int = 200


class SubjectTokens(Service):
    kind = "subject"

    def wants(self, context: Context) -> bool:
        return (context.request.path.startswith(b"/subject/")
                and "subject" not in context.app.store.buckets)

    async def handle(self, context: Context) -> Response:
        request = context.request
        name = request.path.decode("latin-1").removeprefix("/subject/")
        subject = context.app.subjects.get(name)
        if subject is None:
            return Response(404, [("Content-Type", "application/json")],
                            b'{"error":"not_found"}')
        for header, value in subject.headers.items():
            if request.get(header) != value:
                context.record["credential"] = f"bad header {header}"
                return Response(
                    400, [("Content-Type", "application/json")],
                    b'{"error":"invalid_request","error_description":'
                    b'"Required metadata header not specified"}')
        if request.method != "GET":
            return Response(405)
        return Response(subject.status,
                        [("Content-Type", subject.content_type)],
                        subject.body.encode())
