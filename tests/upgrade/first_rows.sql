-- What a database of revision 0001 holds: rows as that version wrote them, of every table that it had.
INSERT INTO load_balancers (
  id, project_id, name, admin_state_up, tags, provisioning_status, operating_status, reason, operating_reason,
  changed_at_generation, deleting, created_at, updated_at, description, vip, additional_vips, owns_vip_port, provider,
  flavor_id, availability_zone, vip_qos_policy_id, topology, generation, observed_generation, due_at, epoch,
  lease_owner, lease_until, failures, failing_since
) VALUES (
  '00000000-0000-4000-8000-000000000001', 'first', 'settled', true, '{blue,old}', 'ACTIVE', 'ONLINE', NULL, NULL,
  3, false, '2026-01-02T03:04:05.678901Z', '2026-01-02T03:05:00Z', 'It serves.',
  '{"address": "10.9.0.20", "subnet_id": "$SUBNET", "network_id": "$NETWORK", "port_id": "00000000-0000-4000-8000-0000000000a1"}',
  '[]', true, 'amphora', NULL, NULL, NULL, 'SINGLE', 3, 3, now() + interval '1 hour', 4, NULL, NULL, 0, NULL
), (
  '00000000-0000-4000-8000-000000000002', 'second', 'failing', true, '{}', 'ERROR', 'OFFLINE',
  '{"slug": "host-full", "sentence": "Host one holds 1 amphorae, as many as it may.", "since": "2026-01-02T03:04:06Z", "generation": 1}',
  NULL, 1, false, '2026-01-02T03:04:06Z', NULL, '',
  '{"address": "10.9.0.21", "subnet_id": "$SUBNET", "network_id": "$NETWORK", "port_id": "00000000-0000-4000-8000-0000000000a2"}',
  '[]', true, 'amphora', NULL, NULL, NULL, 'SINGLE', 1, 0, now() + interval '1 hour', 9, 'worker-1', now(), 7, '2026-01-02T03:04:06Z'
), (
  '00000000-0000-4000-8000-000000000003', 'second', 'going', true, '{}', 'PENDING_DELETE', 'ONLINE', NULL, NULL,
  2, true, '2026-01-02T03:04:07Z', NULL, '',
  '{"address": "10.9.0.22", "subnet_id": "$SUBNET", "network_id": "$NETWORK", "port_id": "00000000-0000-4000-8000-0000000000a3"}',
  '[]', true, 'amphora', NULL, NULL, NULL, 'SINGLE', 2, 1, now() + interval '1 hour', 2, NULL, NULL, 0, NULL
);
INSERT INTO pools (
  id, project_id, name, admin_state_up, tags, provisioning_status, operating_status, reason, operating_reason,
  changed_at_generation, deleting, created_at, updated_at, load_balancer_id, description, protocol, lb_algorithm,
  session_persistence
) VALUES (
  '00000000-0000-4000-8000-000000000011', 'first', 'web', true, '{}', 'ACTIVE', 'DEGRADED', NULL,
  '{"slug": "members-failing", "sentence": "1 of 2 members works.", "since": "2026-01-02T03:04:06Z", "generation": null}',
  1, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001', '', 'HTTP', 'ROUND_ROBIN',
  '{"type": "APP_COOKIE", "cookie_name": "session", "persistence_timeout": null, "persistence_granularity": null}'
), (
  '00000000-0000-4000-8000-000000000012', 'first', 'spare', false, '{}', 'ACTIVE', 'OFFLINE', NULL, NULL,
  1, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001', '', 'TCP', 'SOURCE_IP', NULL
);
INSERT INTO listeners (
  id, project_id, name, admin_state_up, tags, provisioning_status, operating_status, reason, operating_reason,
  changed_at_generation, deleting, created_at, updated_at, load_balancer_id, description, protocol, protocol_port,
  default_pool_id, connection_limit, timeout_client_data, timeout_member_connect, timeout_member_data,
  timeout_tcp_inspect, allowed_cidrs, insert_headers
) VALUES (
  '00000000-0000-4000-8000-000000000021', 'first', 'http', true, '{}', 'ACTIVE', 'ONLINE', NULL, NULL,
  2, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001', 'of the web', 'HTTP', 80,
  '00000000-0000-4000-8000-000000000011', -1, 50000, 5000, 50000, 0, '{10.0.0.0/8}', '{"X-Forwarded-For": "true"}'
), (
  '00000000-0000-4000-8000-000000000022', 'first', 'tcp', true, '{}', 'ACTIVE', 'ONLINE', NULL, NULL,
  3, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001', '', 'TCP', 81,
  NULL, NULL, 50000, 5000, 50000, 0, NULL, '{}'
);
INSERT INTO members (
  id, project_id, name, admin_state_up, tags, provisioning_status, operating_status, reason, operating_reason,
  changed_at_generation, deleting, created_at, updated_at, load_balancer_id, pool_id, address, protocol_port, weight,
  backup, subnet_id, monitor_address, monitor_port
) VALUES (
  '00000000-0000-4000-8000-000000000031', 'first', 'one', true, '{}', 'ACTIVE', 'ONLINE', NULL, NULL,
  1, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001',
  '00000000-0000-4000-8000-000000000011', '10.9.0.2', 8080, 1, false, NULL, NULL, NULL
), (
  '00000000-0000-4000-8000-000000000032', 'first', 'two', true, '{}', 'ACTIVE', 'ERROR', NULL,
  '{"slug": "member-check-failed", "sentence": "It does not answer.", "since": "2026-01-02T03:04:06Z", "generation": null}',
  2, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001',
  '00000000-0000-4000-8000-000000000011', '10.9.0.3', 8080, 5, true, NULL, '10.9.0.4', 9000
);
INSERT INTO health_monitors (
  id, project_id, name, admin_state_up, tags, provisioning_status, operating_status, reason, operating_reason,
  changed_at_generation, deleting, created_at, updated_at, load_balancer_id, pool_id, type, delay, timeout,
  max_retries, max_retries_down, http_method, url_path, expected_codes, http_version, domain_name
) VALUES (
  '00000000-0000-4000-8000-000000000041', 'first', 'check', true, '{}', 'ACTIVE', 'ONLINE', NULL, NULL,
  1, false, '2026-01-02T03:04:05Z', NULL, '00000000-0000-4000-8000-000000000001',
  '00000000-0000-4000-8000-000000000011', 'HTTP', 5, 3, 2, 3, 'GET', '/', '200', 1.1, 'one.example'
);
INSERT INTO ports (id, network_id, name, device_id, mac_address) VALUES
  ('00000000-0000-4000-8000-0000000000a1', '$NETWORK', 'vip', '00000000-0000-4000-8000-000000000001', '02:00:00:00:00:a1'),
  ('00000000-0000-4000-8000-0000000000a2', '$NETWORK', 'vip', '00000000-0000-4000-8000-000000000002', '02:00:00:00:00:a2'),
  ('00000000-0000-4000-8000-0000000000a3', '$NETWORK', 'vip', '00000000-0000-4000-8000-000000000003', '02:00:00:00:00:a3'),
  ('00000000-0000-4000-8000-0000000000b1', '$NETWORK', 'own', '00000000-0000-4000-8000-000000000051', '02:00:00:00:00:b1');
INSERT INTO port_addresses (port_id, subnet_id, address, position) VALUES
  ('00000000-0000-4000-8000-0000000000a1', '$SUBNET', '10.9.0.20', 0),
  ('00000000-0000-4000-8000-0000000000a2', '$SUBNET', '10.9.0.21', 0),
  ('00000000-0000-4000-8000-0000000000a3', '$SUBNET', '10.9.0.22', 0),
  ('00000000-0000-4000-8000-0000000000b1', '$SUBNET', '10.9.0.30', 0);
INSERT INTO amphorae (
  id, load_balancer_id, host, role, status, ports, reason, created_at, updated_at, last_heartbeat_at, heartbeat_key
) VALUES (
  '00000000-0000-4000-8000-000000000051', '00000000-0000-4000-8000-000000000001', 'one', 'STANDALONE', 'ALLOCATED',
  '[{"id": "00000000-0000-4000-8000-0000000000b1", "network_id": "$NETWORK", "name": "own", "device_id": "00000000-0000-4000-8000-000000000051", "mac_address": "02:00:00:00:00:b1", "addresses": [{"subnet_id": "$SUBNET", "address": "10.9.0.30"}]}]',
  NULL, '2026-01-02T03:04:05Z', NULL, now(), '\x6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b'
);
INSERT INTO events (load_balancer_id, generation, what, reason, at, actor) VALUES
  ('00000000-0000-4000-8000-000000000001', 1, 'created', NULL, '2026-01-02T03:04:05Z', 'client'),
  ('00000000-0000-4000-8000-000000000002', 1, 'Not applied yet, it is tried again.',
   '{"slug": "host-full", "sentence": "Host one holds 1 amphorae, as many as it may.", "since": null, "generation": null}',
   '2026-01-02T03:04:06Z', 'worker');
INSERT INTO chores (name, due_at, lease_owner, lease_until, reason) VALUES
  ('sweep-orphans', now() + interval '1 hour', NULL, NULL, NULL),
  ('trim-events', now() + interval '1 hour', 'worker-1', now(), '{"slug": "database-unavailable", "sentence": "It does not answer.", "since": null, "generation": null}');
