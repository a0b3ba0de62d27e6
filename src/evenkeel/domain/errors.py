"""The error tree. Every error a user can meet has a code that never changes and a next step.

Adapters translate foreign exceptions into these at the edge and keep the cause; the API renders
them as `{"error": {"code", "message", "hint"}}` with `http_status`; the CLI prints code and hint.
"""

from __future__ import annotations

from typing import ClassVar


class EvenkeelError(Exception):
    """Something expected went wrong; `code` is stable, `hint` says what to do next."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint


class ConfigInvalid(EvenkeelError):
    code = "config_invalid"
    http_status = 500
    exit_code = 2
    default_hint = "`evenkeel config` shows every setting, its value and its meaning."


# --- hypervisor -------------------------------------------------------------------------------


class HypervisorError(EvenkeelError):
    code = "hypervisor_error"
    http_status = 502


class HypervisorUnavailable(HypervisorError):
    code = "hypervisor_unavailable"
    default_hint = "Is libvirtd (or virtqemud) running? Try `virsh -c URI list`."


class HypervisorUriInvalid(HypervisorError):
    code = "hypervisor_uri_invalid"
    default_hint = "Set `agent.libvirt_uri`, for example qemu:///system."


class HypervisorDenied(HypervisorError):
    code = "hypervisor_denied"
    default_hint = "Run the agent as root or as a member of the libvirt group."


class HypervisorTimeout(HypervisorError):
    code = "hypervisor_timeout"
    default_hint = "libvirt did not answer in time; the agent goes on and reconnects by itself."


class VmGone(HypervisorError):
    code = "vm_gone"
    http_status = 404
    default_hint = "The VM stopped or moved away; nothing is left to change on this host."


class ActionUnsupported(HypervisorError):
    code = "action_unsupported"
    http_status = 409
    default_hint = "This host lacks the capability; `evenkeel doctor` shows what it has."


class ActionRefused(HypervisorError):
    code = "action_refused"
    http_status = 409


class TuningConflict(HypervisorError):
    code = "tuning_conflict"
    http_status = 409
    default_hint = "Somebody else changed this VM's tuning meanwhile; Evenkeel leaves it alone."


# --- agent link -------------------------------------------------------------------------------


class BatchInvalid(EvenkeelError):
    code = "batch_invalid"
    http_status = 422
    default_hint = "The agent and the controller may be of different versions."


class BatchTooLarge(EvenkeelError):
    code = "batch_too_large"
    http_status = 413


class ControllerUnavailable(EvenkeelError):
    code = "controller_unavailable"
    http_status = 503
    exit_code = 3
    default_hint = "Is `evenkeel controller` running, and is EVENKEEL_URL right?"


class SpoolFull(EvenkeelError):
    code = "spool_full"
    default_hint = "Free disk space on the host; the agent keeps the newest batches in memory."


class JournalUnavailable(EvenkeelError):
    code = "journal_unavailable"
    default_hint = "The agent does not act without its journal: check `agent.state_dir`."


class MetricsUnavailable(EvenkeelError):
    code = "metrics_unavailable"
    http_status = 503
    default_hint = "Is the port taken? Set `agent.metrics_listen`; the agent works without it."


# --- API --------------------------------------------------------------------------------------


class Unauthenticated(EvenkeelError):
    code = "unauthenticated"
    http_status = 401
    exit_code = 4
    default_hint = "Send `Authorization: Bearer TOKEN`; the CLI reads EVENKEEL_TOKEN."


class TokenRevoked(Unauthenticated):
    code = "token_revoked"
    default_hint = "Ask an administrator for a new token: `evenkeel token create`."


class Forbidden(EvenkeelError):
    code = "forbidden"
    http_status = 403
    exit_code = 4
    default_hint = "This token's role may not do that."


class NotFound(EvenkeelError):
    code = "not_found"
    http_status = 404


class InvalidRequest(EvenkeelError):
    code = "invalid_request"
    http_status = 422


class SimulationInvalid(InvalidRequest):
    """A simulation was asked for that cannot be."""

    code = "simulation_invalid"
    exit_code = 2
    default_hint = "`evenkeel simulate --help` says what can be asked for."


class StoreUnavailable(EvenkeelError):
    code = "store_unavailable"
    http_status = 503
    default_hint = "Is the database reachable and its disk not full? See the controller's log."


class StoreTooNew(EvenkeelError):
    code = "store_too_new"
    default_hint = (
        "A newer Evenkeel wrote this database: upgrade this one, or use another database."
    )


# --- forecasts --------------------------------------------------------------------------------


class HistoryUnavailable(EvenkeelError):
    code = "history_unavailable"
    http_status = 503
    default_hint = "Is the disk of `forecast.history_dir` full or read-only? It is tried again."


class ForecastUnavailable(EvenkeelError):
    code = "forecast_unavailable"
    http_status = 404
    default_hint = "The first one comes when a slot of history is complete (`forecast.slot_s`)."


class HistoryTooShort(EvenkeelError):
    code = "history_too_short"
    http_status = 409
    default_hint = "Forecasts need four times as many slots as they look ahead; give it time."


class ModelNotFound(EvenkeelError):
    code = "model_not_found"
    http_status = 404
    default_hint = "`evenkeel models` lists them."


class ModelCorrupt(EvenkeelError):
    code = "model_corrupt"
    http_status = 500
    default_hint = "The former model serves; train again, or `evenkeel models rollback`."


class ModelsUnavailable(EvenkeelError):
    code = "models_unavailable"
    http_status = 503
    default_hint = "Is the disk of `forecast.models_dir` full or read-only?"


class TrainingUnavailable(EvenkeelError):
    code = "training_unavailable"
    default_hint = "pip install 'evenkeel[ml]' beside the controller, or set forecast.retrain off."


class MetricsSourceUnavailable(EvenkeelError):
    code = "metrics_source_unavailable"
    http_status = 502
    exit_code = 3
    default_hint = "Is Prometheus running, and is its URL right?"


class MetricsSourceInvalid(EvenkeelError):
    code = "metrics_source_invalid"
    http_status = 502
    default_hint = "Does the URL name a Prometheus (its API is at /api/v1)?"


# --- workers elsewhere ------------------------------------------------------------------------


class ClusterUnavailable(EvenkeelError):
    code = "cluster_unavailable"
    http_status = 503
    exit_code = 3
    default_hint = (
        "A new cluster: `ray start --head --port 6379`. This machine must be a node of it too: "
        "`ray start --address HOST:PORT` (with --num-cpus 0 it only hands out work)."
    )


class ClusterLost(EvenkeelError):
    code = "cluster_lost"
    http_status = 503
    exit_code = 3
    default_hint = "Nothing of the unfinished work was kept; `ray status` shows the cluster."


class ClusterDiffers(EvenkeelError):
    code = "cluster_differs"
    http_status = 503
    exit_code = 3
    default_hint = "Install the same Evenkeel and the same packages on every node, restart Ray."


# --- traces -----------------------------------------------------------------------------------


class TraceInvalid(EvenkeelError):
    """A file of demand that cannot be read: which file, which line or column, and why."""

    code = "trace_invalid"
    http_status = 422
    exit_code = 2
    default_hint = "Is `--format` right? `evenkeel backtest --help` describes the layouts."


# --- lab --------------------------------------------------------------------------------------


class LabError(EvenkeelError):
    code = "lab_error"


class LabMissingTools(LabError):
    code = "lab_missing_tools"
    default_hint = "On Debian or Ubuntu run `make setup` as root; it installs what is missing."
