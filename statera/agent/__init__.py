"""Floor 3: lives beside the amphorae and ships alone. Applies documents, keeps the processes running, sends heartbeats.

Not here: `store`, `plan`, drivers, the wishes of tenants: it knows the documents it was given and what it sees.
"""
