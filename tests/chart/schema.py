"""The schema of the chart's values: `python -m tests.chart.schema` (`make chart`) writes it.

A typo in a values file is refused before anything is installed, in settings of services too.
"""

import json
from typing import Any

from tests.chart.variables import EVERYBODYS, chosen_freely
from tests.support.helm import CHART

FILE = CHART / "values.schema.json"
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SOME: Schema = {"type": "integer", "minimum": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
SECONDS: Schema = {"type": "number", "minimum": 0}
PERCENT: Schema = {"type": "integer", "minimum": 1, "maximum": 100}
TEXTS: Schema = {"type": "array", "items": TEXT}
FREE: Schema = {"type": "object"}
FREE_LIST: Schema = {"type": "array", "items": FREE}
TEXT_MAP: Schema = {"type": "object", "additionalProperties": TEXT}
SHARE: Schema = {"type": ["integer", "string"], "description": "a number or a percentage"}
NEVER: Schema = {"not": {}, "description": "it holds a key: give it with extraEnvFrom"}
TRACES_KEYS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
SCALAR: Schema = {"type": ["string", "number", "boolean"]}
NAME = "^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$"
ID = "^[A-Za-z0-9_-]{1,64}$"
VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"
SIZE: Schema = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti)?$"}
HOOKS: Schema = {"type": "array", "items": {"type": "string", "pattern": ID}, "uniqueItems": True}


def these(properties: Schema, **more: Any) -> Schema:
    """An object that has these and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def settings(service: str) -> Schema:
    """The variables of a service that its pods may be given."""
    kinds = {**chosen_freely(service), **dict.fromkeys(EVERYBODYS, str)}
    found = {name: _value(kinds[name]) for name in sorted(kinds)}
    found |= dict.fromkeys(TRACES_KEYS, NEVER)
    return these(found, patternProperties={"^OTEL_[A-Z0-9_]+$": SCALAR})


def _value(hint: Any) -> Schema:
    kinds = set(getattr(hint, "__args__", ())) | {hint}
    if bool in kinds:
        return {"type": ["boolean", "string"]}
    if kinds & {int, float}:
        return {"type": ["number", "string"]}
    return TEXT


def definitions() -> dict[str, Schema]:
    secret = {"name": TEXT, "key": TEXT}
    return {
        "secret": these(secret, description="a key of a Secret that exists"),
        "credentials": these(
            {**secret, "kind": {"enum": ["creds", "nkey", "password"]}, "user": TEXT}
        ),
        "image": these({"repository": TEXT, "tag": TEXT, "digest": TEXT}),
        "resources": these({"requests": FREE, "limits": FREE, "claims": FREE_LIST}),
        **{f"{each}Settings": settings(each) for each in ("gateway", "provision")},
        "teamRunnerSettings": settings("team-runner"),
        "hookRunnerSettings": settings("hook-runner"),
        "teamRunner": these(_team_runner()),
        "hookRunner": these(_hook_runner()),
        "hookRunners": these({**_hook_runner(), "groups": _groups()}),
        "app": {**these(_app(), required=["app"]), "type": ["object", "null"]},
    }


def _workload() -> Schema:
    """What can be said of every Deployment."""
    spread = these({"topologyKey": TEXT, "maxSkew": SOME, "whenUnsatisfiable": TEXT})
    lists = ("extraEnv", "extraEnvFrom", "extraVolumes", "extraVolumeMounts", "tolerations")
    return {
        "image": ref("image"),
        "replicas": COUNT,
        **dict.fromkeys(("preStopS", "startS"), COUNT),
        "drainS": SECONDS,
        "resources": ref("resources"),
        "tmpSize": SIZE,
        **dict.fromkeys(("maxSurge", "maxUnavailable"), SHARE),
        **dict.fromkeys(("podLabels", "podAnnotations", "nodeSelector"), TEXT_MAP),
        **dict.fromkeys(lists, FREE_LIST),
        "affinity": FREE,
        "priorityClassName": TEXT,
        "topologySpread": {"type": "array", "items": spread},
    }


def _gateway() -> Schema:
    secrets = ("securityKey", "apiKeys", "jwtVerificationKey", "jwks")
    bounds = {"enabled": FLAG, "minReplicas": SOME, "maxReplicas": SOME, "cpuPercent": PERCENT}
    hosts = {"type": "array", "items": these({"host": TEXT, "path": TEXT}, required=["host"])}
    return {
        **_workload(),
        "enabled": FLAG,
        "containerPort": PORT,
        "settings": ref("gatewaySettings"),
        "auth": these(dict.fromkeys(secrets, ref("secret"))),
        "service": these({"type": TEXT, "port": PORT, "labels": TEXT_MAP, "annotations": TEXT_MAP}),
        "ingress": these(
            {
                "enabled": FLAG,
                "className": TEXT,
                "annotations": TEXT_MAP,
                "hosts": hosts,
                "tls": FREE_LIST,
            }
        ),
        "httpRoute": these({"enabled": FLAG, "parentRefs": FREE_LIST, "hostnames": TEXTS}),
        "autoscaling": these(bounds),
        "keda": these(bounds),
    }


def _keda(**more: Schema) -> Schema:
    return these(
        {
            "enabled": FLAG,
            "minReplicas": COUNT,
            "maxReplicas": SOME,
            "lagThreshold": SOME,
            "cooldownS": COUNT,
            "pollingS": SOME,
            **more,
        }
    )


def _team_runner() -> Schema:
    persistence = {
        "enabled": FLAG,
        "size": SIZE,
        **dict.fromkeys(("storageClassName", "existingClaim", "mountPath"), TEXT),
    }
    return {
        **_workload(),
        "settings": ref("teamRunnerSettings"),
        "credentials": ref("credentials"),
        "model": these({"apiKey": ref("secret"), "baseUrl": TEXT}),
        "persistence": these(persistence),
        "sessionsOnly": these({**_workload(), "enabled": FLAG}),
        "keda": _keda(),
    }


def _hook_runner() -> Schema:
    return {
        **_workload(),
        "settings": ref("hookRunnerSettings"),
        "credentials": ref("credentials"),
        "keda": _keda(hooks=HOOKS),
    }


def _groups() -> Schema:
    group = these({**_hook_runner(), "hooks": HOOKS})
    return {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": group}


def _app() -> Schema:
    env = {"type": "object", "propertyNames": {"pattern": VARIABLE}, "additionalProperties": SCALAR}
    return {
        "id": {"type": "string", "pattern": ID},
        "app": {"type": "string", "minLength": 1, "description": "module:attr in the image"},
        "appDir": TEXT,
        "env": env,
        "teamRunner": ref("teamRunner"),
        "hookRunner": ref("hookRunners"),
    }


def _provision() -> Schema:
    return {
        "enabled": FLAG,
        "image": ref("image"),
        "settings": ref("provisionSettings"),
        "prune": FLAG,
        "deadlineS": SOME,
        "retries": COUNT,
        "resources": ref("resources"),
        "nodeSelector": TEXT_MAP,
        "tolerations": FREE_LIST,
    }


def _small() -> Schema:
    store = {
        "enabled": FLAG,
        "image": ref("image"),
        "size": SIZE,
        "storageClassName": TEXT,
        "resources": ref("resources"),
    }
    postgres = {**store, "runAsUser": SOME, "password": ref("secret")}
    return these({"nats": these(store), "postgres": these(postgres)})


def _network_policies() -> Schema:
    ends = {"ports": {"type": "array", "items": PORT}, "to": FREE_LIST}
    return these(
        {
            "enabled": FLAG,
            "dns": FREE_LIST,
            "gateway": these({"from": FREE_LIST, "extraEgress": FREE_LIST}),
            "monitoring": these({"from": FREE_LIST}),
            "nats": these(ends),
            "database": these(ends),
            "model": FREE_LIST,
            "tracing": FREE_LIST,
            "teamRunner": these({"extraEgress": FREE_LIST}),
            "hookRunner": these({"extraEgress": FREE_LIST}),
        }
    )


def _nats() -> Schema:
    roles = ("gateway", "teamRunner", "hookRunner", "provision")
    client = these({"name": TEXT, "certKey": TEXT, "keyKey": TEXT})
    url = {"type": "string", "pattern": "^(nats|tls)://"}
    return these(
        {
            "urls": {"type": "array", "items": url, "minItems": 1},
            "credentials": these(dict.fromkeys(roles, ref("credentials"))),
            "tls": these({"ca": ref("secret"), "client": client}),
        }
    )


def _around() -> Schema:
    """What is not of one service."""
    roles = ("gateway", "teamRunner", "hookRunner", "provision")
    image = {
        "registry": TEXT,
        "tag": TEXT,
        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "pullSecrets": TEXTS,
    }
    accounts = {
        "create": FLAG,
        "annotations": these(dict.fromkeys(roles, TEXT_MAP)),
        "existing": these(dict.fromkeys(roles, TEXT)),
    }
    monitor = {"enabled": FLAG, "interval": TEXT, "scrapeTimeout": TEXT, "labels": TEXT_MAP}
    budgets = {"enabled": FLAG, "maxUnavailable": SHARE}
    return {
        **dict.fromkeys(("nameOverride", "fullnameOverride", "bindHost"), TEXT),
        **dict.fromkeys(("commonLabels", "commonAnnotations"), TEXT_MAP),
        "global": FREE,
        "managementPort": PORT,
        "image": these(image),
        "serviceAccounts": these(accounts),
        "podSecurity": these({"runAsUser": {"type": ["integer", "null"], "minimum": 1}}),
        "keda": these({"enabled": FLAG, "monitor": TEXT, "monitorHttps": FLAG, "account": TEXT}),
        "serviceMonitor": these(monitor),
        "podDisruptionBudgets": these(budgets),
        "test": these({"component": TEXT, "message": TEXT}),
        "extraObjects": FREE_LIST,
    }


def schema() -> Schema:
    apps = {"propertyNames": {"pattern": NAME}, "additionalProperties": ref("app")}
    database = {"url": TEXT, "urlSecret": ref("secret"), "passwordSecret": ref("secret")}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart teambus",
        **these(
            {
                **_around(),
                "nats": _nats(),
                "database": these(database),
                "gateway": these(_gateway()),
                "teamRunner": ref("teamRunner"),
                "hookRunner": ref("hookRunner"),
                "apps": {"type": "object", **apps},
                "provision": these(_provision()),
                "small": _small(),
                "networkPolicies": _network_policies(),
            }
        ),
        "definitions": definitions(),
    }


def text() -> str:
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(f"{FILE} is written")
