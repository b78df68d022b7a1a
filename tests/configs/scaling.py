"""What Ray's autoscaler (version 2) makes of a cluster's configuration, without a cluster."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil


def launched(
    config: Mapping[str, Any],
    demand: Mapping[str, float],
    count: int,
    failed: tuple[str, ...] = (),
) -> dict[str, int]:
    """How many workers of each type it starts for ``count`` tasks of ``demand`` on a
    cluster without workers; ``failed`` are types that the cloud has just refused."""
    read = AutoscalingConfig(copy.deepcopy(dict(config)), skip_content_hash=True)
    requests = [ResourceRequestUtil.make(dict(demand)) for _ in range(count)]
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=read.get_node_type_configs(),
        max_num_nodes=read.get_max_num_worker_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(requests),
        recoverable_resource_availabilities=dict.fromkeys(failed, 0.0),
    )
    reply = ResourceDemandScheduler().schedule(request)
    found = {each.instance_type: each.count for each in reply.to_launch}
    found.pop(read.get_head_node_type(), None)
    return found
