"""The built-in store of secrets on a test's database, with a key of the test run's own."""

import tempfile
from functools import cache
from pathlib import Path

from statera.drivers.secrets_local import LocalSecrets, SealingKeys
from statera.store.engine import Store
from statera.store.secrets import StoredSecretBook


@cache
def make_keys() -> SealingKeys:
    """Return keys that are in memory only."""
    with tempfile.TemporaryDirectory() as folder:
        keys = SealingKeys(Path(folder) / "secrets.key")
        keys.ensure()
        keys.seal(b"", "the file has been read now")
    return keys


def make_keeper(store: Store) -> LocalSecrets:
    return LocalSecrets(StoredSecretBook(store), make_keys())
