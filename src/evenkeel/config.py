"""Configuration: frozen groups, parsed once at start, from a TOML file and the environment.

File: `--config PATH`, else $EVENKEEL_CONFIG, else /etc/evenkeel/evenkeel.toml if it exists.
Environment: EVENKEEL_<GROUP>__<FIELD>, which wins over the file. msgspec does the parsing, because
the agent must stay under 60 MB resident (docs/designs/0003-light-agent.md).
"""

from __future__ import annotations

import datetime
import os
import socket
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from evenkeel.decoding import converted
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.ids import VmId
from evenkeel.domain.panel import Calendar, Event
from evenkeel.domain.plan import ActionKind
from evenkeel.domain.policy import PairThreshold, Policy

DEFAULT_PATH: Final = Path("/etc/evenkeel/evenkeel.toml")
ENV_PREFIX: Final = "EVENKEEL_"

Seconds = Annotated[float, Meta(gt=0)]


def _hostname() -> str:
    return socket.gethostname()


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[agent]`: the daemon on each libvirt host."""

    host_id: Annotated[
        str, Meta(min_length=1, description="Name of this host; the default is the hostname.")
    ] = msgspec.field(default_factory=_hostname)
    libvirt_uri: Annotated[str, Meta(description="Where libvirt listens.")] = "qemu:///system"
    controller_url: Annotated[
        str, Meta(description="Base URL of the controller; empty: work alone.")
    ] = ""
    token_file: Annotated[
        str, Meta(description="File with this agent's token, readable by it alone.")
    ] = "/etc/evenkeel/agent.token"
    ca_file: Annotated[str, Meta(description="CA of an https controller; empty: system CAs.")] = ""
    controller_timeout_s: Annotated[
        Seconds, Meta(description="Give up on a request to the controller after this.")
    ] = 10.0
    state_dir: Annotated[str, Meta(description="Journal, spool and last policy live here.")] = (
        "/var/lib/evenkeel"
    )
    tick_s: Annotated[
        float, Meta(ge=0.5, le=60, description="Seconds between observations (1-5 is useful).")
    ] = 5.0
    devices_every_s: Annotated[
        float, Meta(ge=0, le=60, description="Disk and balloon are read this often; 0: each tick.")
    ] = 14.0
    libvirt_timeout_s: Annotated[
        Seconds, Meta(description="A libvirt call that takes longer counts as hung.")
    ] = 4.0
    cpus: Annotated[
        str, Meta(description='Host CPUs for VMs, such as "2-31"; empty: all this process may use.')
    ] = ""
    cgroup_root: Annotated[str, Meta(description="Where the cgroup file systems are mounted.")] = (
        "/sys/fs/cgroup"
    )
    net_mbit_s: Annotated[
        float, Meta(ge=0, description="Uplink capacity in Mbit/s; 0: read it from the link.")
    ] = 0.0
    fault_domain: Annotated[
        str, Meta(description="What fails together with this host, such as a rack; empty: nothing.")
    ] = ""
    iops: Annotated[float, Meta(ge=0, description="Disk capacity in requests/s; 0: learn it.")] = (
        0.0
    )
    spool_max_mib: Annotated[
        float, Meta(gt=0, description="Disk kept for batches while the controller is away.")
    ] = 64.0
    metrics_listen: Annotated[
        str, Meta(description="HOST:PORT of the Prometheus endpoint; empty: none.")
    ] = "127.0.0.1:9177"
    window_s: Annotated[
        Seconds, Meta(description="Scores are computed from this much history.")
    ] = 60.0
    half_life_s: Annotated[
        Seconds, Meta(description="A sample's weight in the scores halves in this time.")
    ] = 7.5
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"


class ControllerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[controller]`: the central service, its API and page."""

    listen: Annotated[str, Meta(description="HOST:PORT of API and page.")] = "127.0.0.1:8470"
    database_url: Annotated[
        str, Meta(description="SQLAlchemy URL: sqlite:///PATH or postgresql+psycopg://...")
    ] = "sqlite:////var/lib/evenkeel/controller.db"
    state_dir: Annotated[
        str, Meta(description="Holds admin.token, written at the first start (mode 0600).")
    ] = "/var/lib/evenkeel"
    history_hours: Annotated[
        float, Meta(gt=0, description="Per-tick history is kept this long.")
    ] = 24.0
    reliability_days: Annotated[
        float,
        Meta(gt=0, description="Predicted against measured loss, by hour, is kept this long."),
    ] = 30.0
    max_body_mib: Annotated[
        float, Meta(gt=0, description="A larger request body is refused (413).")
    ] = 8.0
    host_silent_s: Annotated[
        Seconds, Meta(description="A host that said nothing for this long is shown as silent.")
    ] = 20.0
    tls_cert_file: Annotated[str, Meta(description="PEM certificate; empty: plain HTTP.")] = ""
    tls_key_file: Annotated[str, Meta(description="PEM key of the certificate.")] = ""
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"


Score = Annotated[float, Meta(ge=1, le=100)]


class PairConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[policy.pairs]]`: a pair with an alarm threshold of its own; VMs by their UUIDs."""

    victim: str
    aggressor: str
    alarm_score: Score


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: what the controller hands to every agent, beside the mode."""

    alarm_score: Annotated[Score, Meta(description="A pair alarms at this score (0-100).")] = 20.0
    release_score: Annotated[
        Score, Meta(description="It calms below this one; lower than alarm_score.")
    ] = 10.0
    hold_ticks: Annotated[
        int, Meta(ge=1, le=100, description="Ticks above the threshold before anything is done.")
    ] = 2
    ttl_s: Annotated[
        float, Meta(ge=10, le=3600, description="A mitigation ends after this unless extended.")
    ] = 120.0
    verify_after_s: Annotated[
        float, Meta(ge=1, le=600, description="Its measured effect is judged after this.")
    ] = 10.0
    cooldown_s: Annotated[
        float, Meta(ge=0, le=86400, description="A victim is left alone this long, or longer.")
    ] = 60.0
    min_benefit: Annotated[
        float, Meta(ge=0, le=1, description="Least share of its demand a victim must win back.")
    ] = 0.05
    min_gain_cores: Annotated[
        float, Meta(ge=0, description="Least cores a victim must win back.")
    ] = 0.1
    max_open_per_host: Annotated[
        int, Meta(ge=0, description="Most mitigations at a time on one host.")
    ] = 8
    allowed: Annotated[
        tuple[ActionKind, ...], Meta(description="Kinds of action that may be taken.")
    ] = (ActionKind.PIN_APART, ActionKind.BOOST, ActionKind.QUOTA)
    min_confidence: Annotated[
        float, Meta(ge=0, le=1, description="A less certain culprit is not made to lose anything.")
    ] = 0.5
    probe: Annotated[
        bool, Meta(description="In mode act, throttle suspects a little to find the culprit.")
    ] = False
    probe_depth: Annotated[
        float, Meta(gt=0, le=0.5, description="A throttle takes this share of present use at most.")
    ] = 0.2
    probe_max_s: Annotated[
        float, Meta(ge=1, le=30, description="Seconds that one throttle lasts at most.")
    ] = 6.0
    probe_rounds: Annotated[
        int, Meta(ge=1, le=10, description="Throttles of one experiment at most.")
    ] = 3
    probe_below: Annotated[
        float, Meta(gt=0, le=1, description="Suspects whose guilt is surer are not probed.")
    ] = 0.8
    probes_per_hour: Annotated[
        float, Meta(gt=0, le=3600, description="Experiments on a host, evenly spaced.")
    ] = 12.0
    probe_cooldown_s: Annotated[
        float, Meta(ge=0, le=86400, description="A suspect is then left alone for this long.")
    ] = 900.0
    pairs: Annotated[
        tuple[PairConfig, ...], Meta(description="Thresholds of single pairs, [[policy.pairs]].")
    ] = ()

    def __post_init__(self) -> None:
        if self.release_score >= self.alarm_score:
            raise ValueError("release_score must be lower than alarm_score")
        if ActionKind.PROBE in self.allowed:
            raise ValueError("allowed names remedies; probes are switched on by policy.probe")

    def as_policy(self) -> Policy:
        """The policy that modes are filled into."""
        settings = msgspec.structs.asdict(self)
        pairs = settings.pop("pairs")
        settings["allowed"] = frozenset(self.allowed)
        settings["pair_thresholds"] = tuple(
            PairThreshold(VmId(p.victim), VmId(p.aggressor), p.alarm_score) for p in pairs
        )
        return Policy(**settings)


class EventConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[forecast.events]]`: a stretch known beforehand to be special: a sale, a batch run.

    Times without an offset are in `forecast.time_zone`.
    """

    start: datetime.datetime
    end: datetime.datetime
    name: str = ""


class ForecastConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[forecast]`: telemetry history and demand forecasts in the controller."""

    enabled: Annotated[bool, Meta(description="Whether the controller keeps and forecasts.")] = True
    slot_s: Annotated[
        int, Meta(ge=1, le=3600, description="Seconds a slot of history; a divisor of a day.")
    ] = 300
    grace_s: Annotated[
        float, Meta(ge=0, description="A slot waits this long after its end for late batches.")
    ] = 20.0
    history_dir: Annotated[
        str, Meta(description="Parquet history; empty: `history` in controller.state_dir.")
    ] = ""
    models_dir: Annotated[
        str, Meta(description="Model registry; empty: `models` in controller.state_dir.")
    ] = ""
    forecasts_dir: Annotated[
        str, Meta(description="Latest forecasts; empty: `forecasts` in controller.state_dir.")
    ] = ""
    retention_days: Annotated[
        float, Meta(gt=0, description="History older than this is removed, a day at a time.")
    ] = 60.0
    context_hours: Annotated[
        float, Meta(gt=0, description="Forecasts look at this much history.")
    ] = 192.0
    n_threads: Annotated[
        int, Meta(ge=0, description="Threads that forecast; 0: one a core, at most 4.")
    ] = 0
    ray_address: Annotated[
        str, Meta(description="HOST:PORT of a Ray cluster that forecasts; empty: this machine.")
    ] = ""
    horizons_s: Annotated[
        tuple[Seconds, ...], Meta(min_length=1, description="How far ahead demand is forecast.")
    ] = (300.0, 900.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0, 86400.0)
    windows_s: Annotated[
        tuple[Seconds, ...], Meta(description="Windows whose peak is forecast.")
    ] = (3600.0, 21600.0, 86400.0)
    time_zone: Annotated[
        str, Meta(description="IANA zone in which the fleet's users live their days.")
    ] = "UTC"
    holidays: Annotated[
        tuple[datetime.date, ...], Meta(description="Days (YYYY-MM-DD) unlike others of the week.")
    ] = ()
    events: Annotated[
        tuple[EventConfig, ...], Meta(description="Stretches of time unlike others.")
    ] = ()
    retrain: Annotated[
        bool, Meta(description="Whether the controller trains models anew (needs evenkeel[ml]).")
    ] = True
    retrain_model: Annotated[
        str, Meta(description="Forecaster it trains; empty: as `evenkeel train` does.")
    ] = ""
    retrain_every_days: Annotated[
        float, Meta(gt=0, description="Train a resource anew when history has grown by so much.")
    ] = 7.0
    retrain_every_hours: Annotated[
        float, Meta(gt=0, description="After a training, wait at least so long for the next one.")
    ] = 24.0
    retrain_timeout_s: Annotated[Seconds, Meta(description="End a training after this.")] = 7200.0
    prometheus_url: Annotated[
        str, Meta(description="Histories by PromQL from here; empty: the agents' own telemetry.")
    ] = ""
    prometheus_timeout_s: Annotated[Seconds, Meta(description="Give up on a query after this.")] = (
        30.0
    )

    def __post_init__(self) -> None:
        if 86400 % self.slot_s:
            raise ValueError(f"slot_s {self.slot_s} does not divide a day")

    def calendar(self) -> Calendar:
        """What is known ahead of the fleet's days. Raises ConfigInvalid for an unknown zone."""
        days = Calendar(self.time_zone, frozenset(self.holidays))

        def utc_s(when: datetime.datetime) -> float:
            return (when if when.tzinfo else when.replace(tzinfo=days.zone)).timestamp()

        events = tuple(Event(utc_s(e.start), utc_s(e.end), e.name) for e in self.events)
        return replace(days, events=events)


class ClaimsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[claims]`: the capacity calendar: how much may be promised, and how far ahead."""

    epsilon: Annotated[
        float,
        Meta(gt=0, lt=0.5, description="Accepted odds of a shortfall where demand is forecast."),
    ] = 0.01
    correlation: Annotated[
        float, Meta(ge=0, le=1, description="Of the demand of any two VMs; 1: sums of peaks.")
    ] = 0.2
    max_days: Annotated[
        int, Meta(ge=1, le=3660, description="Nothing is reserved further ahead than this.")
    ] = 366
    retention_days: Annotated[float, Meta(gt=0, description="What ended is kept this long.")] = (
        400.0
    )


class PlansConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[plans]`: which VMs should move, as advice that is kept; nothing is executed."""

    every_s: Annotated[
        Seconds, Meta(description="Look at the fleet so often (s); see `evenkeel plan`.")
    ] = 300.0
    enabled: Annotated[bool, Meta(description="Look at all.")] = True
    stands_s: Annotated[
        Seconds, Meta(description="So long a plan stands before another one that saves more.")
    ] = 1800.0
    more: Annotated[
        float, Meta(ge=0, le=100, description="What that one has to save on top, as a share.")
    ] = 0.25
    payback_h: Annotated[
        float, Meta(ge=0, le=8784, description="Hours within which moves have to pay.")
    ] = 24.0


class ClientConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[client]`: where the CLI finds the controller. EVENKEEL_URL and EVENKEEL_TOKEN win."""

    url: Annotated[str, Meta(description="Base URL of the controller.")] = "http://127.0.0.1:8470"
    token: Annotated[str, Meta(description="API token; token_file is better.")] = ""
    token_file: Annotated[str, Meta(description="File that holds the API token.")] = ""
    timeout_s: Annotated[Seconds, Meta(description="Give up on a request after this.")] = 10.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: AgentConfig = msgspec.field(default_factory=AgentConfig)
    controller: ControllerConfig = msgspec.field(default_factory=ControllerConfig)
    policy: PolicyConfig = msgspec.field(default_factory=PolicyConfig)
    forecast: ForecastConfig = msgspec.field(default_factory=ForecastConfig)
    claims: ClaimsConfig = msgspec.field(default_factory=ClaimsConfig)
    plans: PlansConfig = msgspec.field(default_factory=PlansConfig)
    client: ClientConfig = msgspec.field(default_factory=ClientConfig)


T = TypeVar("T")


def load(path: Path | None = None, environ: dict[str, str] | None = None) -> Config:
    """Read file and environment. Raises ConfigInvalid naming the file, the field and the reason."""
    env = dict(os.environ) if environ is None else environ
    chosen = path or (Path(env["EVENKEEL_CONFIG"]) if env.get("EVENKEEL_CONFIG") else None)
    raw: dict[str, Any] = {}
    if chosen is not None or DEFAULT_PATH.exists():
        raw = _read_toml(chosen or DEFAULT_PATH)
    for key, value in env.items():
        group, dash, name = key.removeprefix(ENV_PREFIX).lower().partition("__")
        if key.startswith(ENV_PREFIX) and dash and group in Config.__struct_fields__:
            section = raw.setdefault(group, {})
            if isinstance(section, dict):
                section[name] = value
    if env.get("EVENKEEL_URL"):
        raw.setdefault("client", {})["url"] = env["EVENKEEL_URL"]
    if env.get("EVENKEEL_TOKEN"):
        raw.setdefault("client", {})["token"] = env["EVENKEEL_TOKEN"]
    try:
        return converted(raw, Config, strict=False)
    except msgspec.ValidationError as error:
        where = str(chosen) if chosen else "environment or " + str(DEFAULT_PATH)
        raise ConfigInvalid(f"{where}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error
