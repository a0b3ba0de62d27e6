"""Every refusal as `{"error": {"code", "message", "hint"}}`, whoever noticed it."""

from __future__ import annotations

from dataclasses import asdict

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from evenkeel.api.schemas import ErrorBody, ErrorDetail, ObstacleOut
from evenkeel.domain.claim import ClaimRefused
from evenkeel.domain.errors import EvenkeelError, InvalidRequest, NotFound

RETRY_AFTER_S = 2
_log = structlog.get_logger("evenkeel.api")
_HTTP_CODES = {404: NotFound.code, 405: "method_not_allowed", 413: "batch_too_large"}

ERROR_RESPONSES: dict[int | str, dict[str, object]] = {
    401: {"model": ErrorBody, "description": "No token, an unknown or a revoked one."},
    403: {"model": ErrorBody, "description": "The token's role may not do that."},
    404: {"model": ErrorBody, "description": "Not there, or not yours."},
    409: {"model": ErrorBody, "description": "It does not go together with what is there."},
    422: {"model": ErrorBody, "description": "The request is not valid."},
    503: {"model": ErrorBody, "description": "The database does not serve; try again."},
}


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(EvenkeelError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def error_response(
    status: int,
    code: str,
    message: str,
    hint: str = "",
    headers: dict[str, str] | None = None,
    obstacle: ObstacleOut | None = None,
) -> JSONResponse:
    error = ErrorDetail(code=code, message=message, hint=hint)
    body = ErrorBody(error=error, obstacle=obstacle).model_dump(mode="json")
    if obstacle is None:
        del body["obstacle"]
    return JSONResponse(body, status, headers)


def _expected(request: Request, error: Exception) -> Response:
    if not isinstance(error, EvenkeelError):
        return _unexpected(request, error)
    headers: dict[str, str] = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status >= 500:
        _log.warning("request_failed", code=error.code, reason=error.message, path=_path(request))
    if error.http_status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    obstacle = None
    if isinstance(error, ClaimRefused) and error.obstacle is not None:
        obstacle = ObstacleOut(**asdict(error.obstacle))
    return error_response(
        error.http_status, error.code, error.message, error.hint, headers, obstacle
    )


def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return _unexpected(request, error)
    problems = [
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
    ]
    return error_response(422, InvalidRequest.code, "; ".join(problems)[:1000])


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _unexpected(request, error)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    message = f"{request.method} {_path(request)}: {error.detail}"
    headers = dict(error.headers) if error.headers else None
    return error_response(error.status_code, code, message, headers=headers)


def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("request_crashed", path=_path(request), exc_info=error)
    return error_response(500, EvenkeelError.code, "something went wrong inside the controller")


def _path(request: Request) -> str:
    return request.url.path[:200]
