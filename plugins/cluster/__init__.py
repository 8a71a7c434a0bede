"""The cluster plugin: the only place that knows both the server and the mesh.

config.py       the table [cluster]
bridge.py       what the mesh needs of the server's events, and the other way round
workers.py      the addresses of several workers of one server
access.py       who may change something
status.py       what an operator wants to know of it
controller.py   cluster/cluster: health, status, reset, drain
plugin.py       its life
"""

from plugins.cluster.plugin import ClusterPlugin

__all__ = ["ClusterPlugin"]
