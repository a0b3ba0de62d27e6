"""Who lives in the fleet fake, and who hurts whom there."""

from __future__ import annotations

from evenkeel.api.reader import Principal, Role
from evenkeel.domain.resources import Resource

ADMIN = Principal(Role.ADMIN, "admin", "t-admin")
SHOP = Principal(Role.TENANT, "shop", "t-shop")
INFRA = Principal(Role.TENANT, "infra", "t-infra")
HOSTILE = '<script>alert("x")</script>'
OTHER = "another tenant's VM"
TICK_S = 5

# name: (host, tenant, vCPUs, MiB, CPU demand, CPU loss)
VMS: dict[str, tuple[str, str, int, int, float, float]] = {
    "web1": ("host-a", "shop", 2, 4096, 1.42, 0.42),
    "web2": ("host-a", "shop", 2, 4096, 0.61, 0.06),
    "db1": ("host-a", "shop", 4, 16384, 1.10, 0.03),
    "batch7": ("host-a", "analytics", 4, 8192, 3.90, 0.11),
    "cache1": ("host-a", "infra", 1, 2048, 0.12, 0.01),
    "ci-runner-03": ("host-a", "infra", 2, 4096, 0.35, 0.02),
    "mail": ("host-b", "infra", 2, 4096, 0.22, 0.01),
    "api1": ("host-b", "search", 2, 2048, 0.85, 0.08),
    "stream": ("host-b", "media", 4, 8192, 2.20, 0.05),
    HOSTILE: ("host-b", "mallory", 1, 1024, 0.30, 0.02),
    "backup": ("host-c", "infra", 1, 2048, 0.0, 0.0),
    "wiki": ("host-c", "infra", 1, 2048, 0.0, 0.0),
}
# victim, aggressor, resource, score, probability, severity, confidence
PAIRS = [
    ("web1", "batch7", Resource.CPU, 36.0, 0.90, 0.40, 0.90),
    ("api1", "stream", Resource.NET, 23.1, 0.70, 0.33, 0.71),
    ("web2", "batch7", Resource.CPU, 12.4, 0.62, 0.20, 0.84),
    ("db1", "batch7", Resource.CPU, 7.8, 0.52, 0.15, 0.80),
    ("db1", "ci-runner-03", Resource.IOPS, 5.6, 0.40, 0.14, 0.55),
    ("web1", "batch7", Resource.MEMORY, 4.0, 0.20, 0.20, 0.40),
    ("batch7", "web1", Resource.CPU, 3.2, 0.40, 0.08, 0.66),
    ("web2", "host", Resource.CPU, 2.1, 0.30, 0.07, 0.50),
    ("stream", "api1", Resource.NET, 1.4, 0.20, 0.07, 0.45),
]
USUAL = {Resource.MEMORY: 1800.0, Resource.NET: 90.0, Resource.IOPS: 220.0}
