"""The cluster plugin: the only place that knows both the server and the mesh.

config.py       the table [cluster]
bridge.py       what the mesh needs of the server's events, and the other way round
status.py       what an operator wants to know of it
controller.py   cluster/cluster: health, status, reset
plugin.py       its life
"""

from plugins.cluster.plugin import ClusterPlugin

__all__ = ["ClusterPlugin"]
