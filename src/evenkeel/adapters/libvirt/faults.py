"""Translates libvirt's errors into Evenkeel's, by code; by text only where libvirt has no code."""

from __future__ import annotations

import errno
from typing import Any, Final

import libvirt

from evenkeel.domain.errors import (
    ActionRefused,
    ActionUnsupported,
    HypervisorDenied,
    HypervisorError,
    HypervisorTimeout,
    HypervisorUnavailable,
    HypervisorUriInvalid,
    VmGone,
)

_DENIED: Final = frozenset(
    {
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
        libvirt.VIR_ERR_ACCESS_DENIED,
        libvirt.VIR_ERR_OPERATION_DENIED,
    }
)
_UNSUPPORTED: Final = frozenset(
    {
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    }
)
_NO_SUCH_DRIVER: Final = frozenset(
    {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_CONFIG_UNSUPPORTED}
)
_LOST: Final = frozenset({libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_NO_CONNECT})
_TRANSPORT: Final = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
_NO_CONTROLLER: Final = "cgroup CPU controller is not mounted"


def on_open(error: Any, uri: str) -> HypervisorError:
    """What a failed `libvirt.open(uri)` means to the operator."""
    code, domain, text = error.get_error_code(), error.get_error_domain(), _text(error)
    if code in _DENIED or _errno(error) in (errno.EACCES, errno.EPERM):
        return HypervisorDenied(f"{uri}: {text}")
    wrong_path = code == libvirt.VIR_ERR_INTERNAL_ERROR and domain not in _TRANSPORT
    # The resolver's failure is the one system error of the transport that carries no errno.
    unknown_name = code == libvirt.VIR_ERR_SYSTEM_ERROR and _errno(error) < 0
    if code in _NO_SUCH_DRIVER or wrong_path or unknown_name:
        return HypervisorUriInvalid(f"{uri}: {text}")
    return HypervisorUnavailable(f"{uri}: {text}")


def on_call(error: Any, what: str) -> HypervisorError:
    """What a failed call on an open connection means; `what` names the call."""
    code, text = error.get_error_code(), f"{what}: {_text(error)}"
    if is_gone(error):
        return VmGone(text)
    if is_lost(error):
        return HypervisorUnavailable(text)
    if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        return HypervisorTimeout(text, hint="Another operation holds this VM; try again later.")
    if code in _DENIED:
        return HypervisorDenied(text)
    if code in _UNSUPPORTED or _NO_CONTROLLER in text:
        return ActionUnsupported(text)
    return ActionRefused(text)


def is_gone(error: Any) -> bool:
    """Whether the VM of the call exists no more."""
    return bool(error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)


def is_lost(error: Any) -> bool:
    """Whether the connection itself is dead: the daemon went, or keepalive gave up on it."""
    code, domain = error.get_error_code(), error.get_error_domain()
    return code in _LOST or (domain in _TRANSPORT and code != libvirt.VIR_ERR_NO_SUPPORT)


def _errno(error: Any) -> int:
    if error.get_error_code() != libvirt.VIR_ERR_SYSTEM_ERROR:
        return 0
    value = error.get_int1()
    return value if isinstance(value, int) else -1


def _text(error: Any) -> str:
    return str(error.get_error_message() or error)
