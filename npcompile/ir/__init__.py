"""The intermediate representation: policies, the cluster they meet, and the flows between its endpoints.

Every default of the Kubernetes API has been decided before a value of these types exists.
"""
