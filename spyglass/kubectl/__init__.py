"""``kubectl spyglass``: spyglass beside a pod of a cluster, by way of kubectl, which knows the cluster and who may do what."""
