"""Where bytes and texts are read: each place of the source, and which target fuzzes it or why none needs to.

A place is `file function`; `test_inventory.py` finds them all and holds the tables below to what is there.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import statera

ROOT = Path(statera.__file__).parent

CALLS = re.compile(
    r"""msgspec\.(json|msgpack|yaml|toml)\.decode | msgspec\.(convert|(json|msgpack)\.Decoder) | .*decoder\.decode
    | (json|tomllib|yaml|pickle|marshal)\.(safe_)?loads? | parse_file_contents | parse_qsl? | .*\bb64decode
    | (.*\.)?load_(pem|der|pkcs12|ssh|key_and)\w* | .*\.(unpack|unpack_from|iter_unpack) | int\.from_bytes""",
    re.VERBOSE,
)
FUNCTIONS = re.compile(r"_*(parse|read|decode)(_\w+)?")
READ = re.compile(r"\b(bytes|bytearray|memoryview|str|SecretParts)\b")
"""In the annotation of an argument."""


def list_places(tree: ast.Module, file: str) -> Iterator[tuple[str, int]]:
    """Yield each place of a module where something is read, and its line; one place maybe several times."""
    yield from _walk(tree, file, "<module>", "")


def _walk(node: ast.AST, file: str, function: str, prefix: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                name = f"{prefix}{child.name}"
                if FUNCTIONS.fullmatch(child.name) and _takes_text(child.args):
                    yield f"{file} {name}", child.lineno
                yield from _walk(child, file, name, f"{name}.<locals>.")
            case ast.ClassDef():
                yield from _walk(child, file, function, f"{prefix}{child.name}.")
            case _:
                if isinstance(child, ast.Call) and CALLS.fullmatch(ast.unparse(child.func)):
                    yield f"{file} {function}", child.lineno
                yield from _walk(child, file, function, prefix)


def _takes_text(arguments: ast.arguments) -> bool:
    given = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return any(one.annotation is not None and READ.search(ast.unparse(one.annotation)) for one in given)


FUZZED: dict[str, tuple[str, ...]] = {
    "answers": (
        "drivers/compute_local.py LocalCompute._decode",
        "drivers/compute_local.py _error",
        "model/features.py read_installed",
        "model/features.py read_version",
        "model/protocol.py read_protocol",
        "render/engine.py read_capabilities",
    ),
    "barbican": ("model/secrets.py parse_reference",),
    "bodies": (
        "api/wire.py _read_field",
        "api/wire.py _read_root",
        "api/wire.py read_body",
        "api/wire.py read_list_body",
    ),
    "certificates": (
        "model/certificate_strength.py check_chain",
        "model/certificate_strength.py check_strength",
        "model/certificates.py _read_any",
        "model/certificates.py _read_authorities",
        "model/certificates.py _read_certificates",
        "model/certificates.py _read_key",
        "model/certificates.py _read_lists",
        "model/certificates.py _read_payload",
        "model/certificates.py _read_pkcs12",
        "model/certificates.py read_authorities",
        "model/certificates.py read_certificate",
        "model/certificates.py read_parts",
        "model/certificates.py read_revocations",
    ),
    "configuration": (
        "base/settings.py convert_settings",
        "base/settings.py load_settings",
    ),
    "counters": ("agent/flows.py parse_counters",),
    "disk": (
        "agent/datagrams.py Datagrams._load_failing",
        "agent/flows.py FlowCounters.__init__",
        "agent/folders.py AmphoraFolders.load",
    ),
    "engines": (
        "agent/installed.py read_version",
        "agent/nginx.py read_stream_module",
    ),
    "haproxy": (
        "agent/runtime.py parse_processes",
        "agent/statistics.py parse_process",
        "agent/statistics.py parse_statistics",
        "agent/statistics.py read_metrics",
        "base/digits.py read_digits",
        "render/haproxy.py parse_backend_name",
    ),
    "headers": (
        "base/errand.py read_headers",
        "base/tracing.py _read_parent",
    ),
    "heartbeats": ("model/heartbeat.py decode_heartbeat",),
    "htpasswd": ("api/identity.py _read_basic",),
    "ipvs": (
        "agent/ipvs.py _read_endpoint",
        "agent/ipvs.py parse_file",
        "agent/ipvs.py parse_table",
    ),
    "keystone": ("drivers/identity_keystone.py _read",),
    "members": ("agent/neighbours.py read_answer",),
    "own_certificates": (
        "drivers/pki_local.py LocalAuthority.sign_host",
        "drivers/pki_local.py _read_shown",
    ),
    "plans": (
        "api/call.py Call._decode",
        "api/call.py Call.read",
        "api/call.py Call.read_flat",
        "api/call.py Call.read_list",
    ),
    "policies": ("api/policy_file.py _read_file",),
    "profiles": ("api/capabilities.py read_data",),
    "queries": (
        "api/keymanager.py _read_filters",
        "api/keymanager.py _read_number",
        "api/listing.py _read_query",
    ),
    "receivers": (
        "model/heartbeat.py _decode_body",
        "model/heartbeat.py read_amphora_id",
    ),
    "refusals": (
        "agent/refusals.py _read",
        "agent/refusals.py _strip_header",
        "agent/refusals.py parse_v4",
        "agent/refusals.py parse_v6",
    ),
    "requests": (
        "agent/own_certificate.py _read",
        "agent/server.py _decode",
        "agent/server.py _read_number",
    ),
    "secrets": (
        "api/keymanager.py _decode_base64",
        "api/keymanager.py _read",
        "api/keymanager.py _read_time",
    ),
}
"""By target."""

REPEATED: dict[str, tuple[str, ...]] = {
    "barbican": (
        "drivers/secrets_barbican.py BarbicanSecrets._get",
        "drivers/secrets_barbican.py BarbicanSecrets._log_in",
    ),
    "heartbeats": ("model/heartbeat.py <module>",),
}
"""By target: it makes the same call with the same types itself, or what the place has made is used by a place above."""

NOT_FUZZED: dict[str, tuple[str, ...]] = {
    "rows of Statera's own database, as PostgreSQL makes JSON of them": (
        "store/amphorae.py list_amphorae",
        "store/amphorae.py list_voices",
        "store/amphorae.py load_amphorae",
        "store/chores.py claim_chore",
        "store/chores.py list_chores",
        "store/claims.py load_snapshot",
        "store/drains.py list_drains",
        "store/drains.py list_stays",
        "store/events.py list_events",
        "store/generations.py load_generation",
        "store/generations.py load_newest_generation",
        "store/glances.py list_glances",
        "store/observations.py list_certificate_ends",
        "store/trees.py fetch_tree",
        "store/trees.py load_trees",
        "store/views.py _decode_all",
        "store/views.py _load",
    ),
    "what the kernel tells of itself": (
        "agent/addresses.py _list_ipv4",
        "agent/addresses.py read_link",
        "agent/capacity.py _read",
        "agent/sockets.py _read_lines",
        "agent/sockets.py _read_place",
        "base/privileges.py read_capabilities",
        "base/processes.py _read",
        "base/processes.py read_status",
        "cli/playground.py choose_subnet",
        "cli/watchdog.py Watchdog._hear",
    ),
    "files that only root or Statera writes": (
        "agent/contents.py read_content",
        "drivers/pki_local.py _load_all",
        "drivers/pki_local.py _load_key",
        "drivers/secrets_local.py SealingKeys._load",
    ),
    "what Statera has made itself, in the same or in another process of its own": (
        "agent/neighbours.py _checksum",
        "agent/sockets.py hex_address",
        "agent/users.py _candidates",
        "api/explain.py _run_judge",
        "api/judge.py main",
        "api/quotas.py default_limits",
        "cli/export.py _show",
        "render/haproxy.py _hash_numbers",
    ),
    "words of the operator, and of programs that the operator runs": (
        "agent/heartbeats.py _parse_target",
        "base/settings.py _override",
        "cli/doctor.py parse_version",
    ),
    "words of a HAProxy that go back to the same HAProxy": ("render/change.py Command.read_version",),
    "its argument is a name; what is found by it is read by a place above": (
        "agent/ipvs.py read_table",
        "api/quotas.py _read_project",
        "base/exposition.py read_pages",
        "control/certificates.py _read",
        "drivers/secrets_barbican.py BarbicanSecrets._read_payload",
        "drivers/secrets_barbican.py _parse",
        "drivers/secrets_barbican.py _parse_secret",
        "drivers/secrets_local.py LocalSecrets._read",
        "store/engine.py Store.read",
    ),
}
"""By reason."""
