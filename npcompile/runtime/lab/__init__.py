"""A cluster as network namespaces on this machine, to send real packets in: every pod, node and host is one."""
