"""What a RayJob may hold, as far as ours does: names and types of KubeRay's API reference (ray.io/v1, 1.6).

Every object is closed, so that a name KubeRay does not know fails. Pod templates are Kubernetes' and have its schema.
"""

from __future__ import annotations

from typing import Any

_TEXT, _TRUTH = {"type": "string"}, {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_TEMPLATE = {"type": "object"}
#: Options of ``ray start`` are text, numbers too.
_START = {"type": "object", "additionalProperties": _TEXT}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


CLUSTER = _object(
    "headGroupSpec rayVersion",
    rayVersion=_TEXT,
    authOptions=_object(mode={"enum": ["disabled", "token"]}, secretName=_TEXT),
    enableInTreeAutoscaling=_TRUTH,
    autoscalerOptions=_object(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=_COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        image=_TEXT,
        imagePullPolicy=_TEXT,
        resources={"type": "object"},
        env={"type": "array"},
        envFrom={"type": "array"},
        volumeMounts={"type": "array"},
        securityContext={"type": "object"},
    ),
    headGroupSpec=_object("template", rayStartParams=_START, template=_TEMPLATE, serviceType=_TEXT),
    workerGroupSpecs={
        "type": "array",
        "items": _object(
            "groupName template",
            groupName=_TEXT,
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            numOfHosts=_COUNT,
            idleTimeoutSeconds=_COUNT,
            suspend=_TRUTH,
            rayStartParams=_START,
            template=_TEMPLATE,
        ),
    },
    suspend=_TRUTH,
)

RAY_JOB = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_object("name", name=_TEXT, namespace=_TEXT, labels={"type": "object"}, annotations={"type": "object"}),
    spec=_object(
        "entrypoint rayClusterSpec",
        entrypoint=_TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=_TEXT,
        runtimeEnvYAML=_TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterPodTemplate=_TEMPLATE,
        submitterConfig=_object(backoffLimit=_COUNT),
        shutdownAfterJobFinishes=_TRUTH,
        ttlSecondsAfterFinished=_COUNT,
        activeDeadlineSeconds=_COUNT,
        backoffLimit=_COUNT,
        suspend=_TRUTH,
        jobId=_TEXT,
        metadata={"type": "object", "additionalProperties": _TEXT},
        clusterSelector={"type": "object", "additionalProperties": _TEXT},
        rayClusterSpec=CLUSTER,
    ),
)
